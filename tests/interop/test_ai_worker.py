"""AI jobs: a real gateway asks a real orchestrator, which has us for its AI worker; real AI workers are behind us.

Beside each pool stands an orchestrator with an AI worker of its own, and nothing of ours in between. What comes back
must be the same, and both runners must have been asked the same.
"""
import concurrent.futures
import contextlib
import threading

import pytest

import ai_media
from ai_runner import PIPELINES, chunk
from ai_stock import InThread, StockAiWorker, entries, offered, wait_offered
from harness import until

# The files and the words of the requests; what is not told here is left out, as applications do.
PICTURE, RECORDING = ai_media.png(48, 32, 1), ai_media.wav(3, 2)
ASKED = {
    "text-to-image": ({"prompt": "eine Brücke 🌉", "width": 80, "height": 64, "num_images_per_prompt": 2, "seed": 7,
                       "guidance_scale": 7.5, "num_inference_steps": 4, "negative_prompt": "fog", "safety_check": False,
                       "loras": '{"maker/lora": 0.5}'}, None),
    "image-to-image": ({"prompt": "as oil", "strength": 0.8, "guidance_scale": 7.5, "image_guidance_scale": 1.5,
                        "num_images_per_prompt": 2, "seed": 3, "safety_check": "true"}, PICTURE),
    "image-to-video": ({"width": 128, "height": 96, "fps": 8, "motion_bucket_id": 127, "noise_aug_strength": 0.02}, PICTURE),
    "upscale": ({"prompt": "sharper", "num_inference_steps": 5}, PICTURE),
    "audio-to-text": ({"return_timestamps": "word"}, RECORDING),
    "segment-anything-2": ({"point_coords": "[[10,10]]", "point_labels": "[1]", "multimask_output": "false"}, PICTURE),
    "llm": ({"messages": [{"role": "system", "content": "kurz"}, {"role": "user", "content": "Grüße & <tags>"}],
             "max_tokens": 64, "temperature": 0.7, "top_p": 0.9, "stream": False}, None),
    "image-to-text": ({"prompt": "what is it"}, PICTURE),
    "text-to-speech": ({"text": "Grüß Gott", "description": "calm"}, None),
}
OF_FILES = ("text-to-image", "image-to-image", "upscale")


class Both:
    """The same gateway request through the pool and without it."""

    def __init__(self, pool, pipelines=PIPELINES, capacity=2):
        self.pool = pool
        self.runner, self.bare_runner = pool.runner(), pool.runner()
        self.bare = pool.orchestrator("bare")
        listed = entries(self.bare_runner.base + "/{}", pipelines, capacity)
        self.bare_worker = pool.node(StockAiWorker, "of-bare", self.bare.address, self.bare.secret, pool.docker(), listed)
        self.orchestrator = pool.orchestrator()
        pool.serve(self.orchestrator)
        self.worker = pool.ai_worker("worker", self.runner, pipelines=pipelines, capacity=capacity)
        wait_offered(self.bare, dict.fromkeys(pipelines, capacity))
        wait_offered(self.orchestrator, dict.fromkeys(pipelines, capacity))
        self.through = pool.ai_gateway(self.orchestrator, name="gateway-through")
        self.without = pool.ai_gateway(self.bare, name="gateway-without")

    def ask(self, pipeline, fields, file=None):
        return self.through.ask(pipeline, fields, file), self.without.ask(pipeline, fields, file)


@pytest.fixture(scope="module")
def both(livepeer, tmp_path_factory):
    """One pair for the tests that only ask; what breaks things has its own."""
    from conftest import Pool
    version, binary = livepeer
    pool = Pool(binary, version, tmp_path_factory.mktemp("both"), None)
    try:
        yield Both(pool)
    finally:
        pool.close()
    pool.judge()


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_pipelines_job_goes_through_as_without_us(both, pipeline):
    fields, file = ASKED[pipeline]
    through, without = both.ask(pipeline, fields, file)
    assert through.status == 200, through.body
    assert through.outcome == without.outcome
    # What the runner behind the worker was asked.
    job, bare_job = both.runner.of(pipeline)[-1], both.bare_runner.of(pipeline)[-1]
    assert job.fields == bare_job.fields and job.file_name == bare_job.file_name
    assert job.file == bare_job.file == file
    if pipeline in OF_FILES:
        made = [ai_media.pixels(file) for file in through.files()]
        assert made == [ai_media.pixels(file) for file in without.files()]
        size = made[0][0]
        assert made == [((size), ai_media.pixels(ai_media.png(*size, job.seed + n))[1]) for n in range(len(made))]
        assert len({pixels for _, pixels in made}) == int(fields.get("num_images_per_prompt", 1)), "each is another"
    elif pipeline == "text-to-speech":
        assert through.files() == without.files() == [ai_media.wav(1, job.seed)]
    elif pipeline == "image-to-video":
        # Made of the runner's frames by the worker itself.
        (film,), (bare_film,) = through.files(), without.files()
        assert film[4:8] == b"ftyp" and len(film) == len(bare_film)


def test_a_streamed_llm_answer_passes_chunk_by_chunk(both):
    """The runner goes on only when the gateway's caller has what it sent."""
    def stepwise(steps):
        def chunks(job):
            for n in range(30):
                last = {"finish_reason": "stop"} if n == 29 else {}
                yield chunk(job, {"index": 0, "delta": {"role": "assistant", "content": f"w{n} "}, **last})
                assert last or steps.acquire(timeout=20), "the caller never saw this word"
        return chunks

    heard = []
    for gateway, runner in ((both.through, both.runner), (both.without, both.bare_runner)):
        steps = threading.Semaphore(0)
        runner.stream(stepwise(steps))
        got = gateway.stream("go on", seen=lambda _: steps.release())
        runner.rules.clear()
        heard.append([value for _, value in got])
    words = [one["choices"][0]["delta"]["content"] for one in heard[0]]
    assert words == [f"w{n} " for n in range(30)]
    assert heard[0] == heard[1]


def test_jobs_by_the_dozen_of_all_pipelines_at_once(both):
    """More than a model's capacity never runs at once, and every job that was taken is answered rightly."""
    def one(n, pipeline):
        fields, file = ASKED[pipeline]
        return pipeline, both.through.ask(pipeline, {**fields, **({"seed": n} if "seed" in fields else {})}, file)
    few = [p for p in PIPELINES if p != "image-to-video"]
    with concurrent.futures.ThreadPoolExecutor(len(few)) as threads:
        for n in range(5):
            answers = list(threads.map(lambda p: one(n, p), few))
            assert [(p, said.body) for p, said in answers if said.status != 200] == []
    assert both.worker.registrations() == both.bare_worker.registrations() == 1


def test_units_equal_what_the_orchestrator_would_charge(both):
    """By the table of prices: a row of the ledger for each job that was delivered."""
    before = units(both.pool)
    expected = {
        "text-to-image": 80 * 64 * 2, "image-to-image": 48 * 32 * 2, "upscale": 48 * 32, "segment-anything-2": 48 * 32,
        "image-to-text": 48 * 32, "audio-to-text": 3_000, "llm": 64, "text-to-speech": 9_000, "image-to-video": 128 * 96 * 25,
    }
    for pipeline in PIPELINES:
        assert both.through.ask(pipeline, *ASKED[pipeline]).status == 200
    grown = lambda: {p: (jobs - before.get(p, (0, 0))[0], n - before.get(p, (0, 0))[1]) for p, (jobs, n) in units(both.pool).items()}
    until(lambda: grown() == {p: (1, n) for p, n in expected.items()}, 10, f"{expected} in the ledger")


def units(pool):
    """{pipeline: (jobs, units)} of the ledger."""
    return {p: (row["jobs"], row["units"]) for p, row in pool.proxy.report("pipeline").items() if p in PIPELINES}


def test_a_gateway_sees_the_same_models_as_without_us(both):
    assert offered(both.orchestrator) == offered(both.bare) == dict.fromkeys(PIPELINES, 2)
    from orchestrator_rpc import models
    through, without = models(both.orchestrator.address), models(both.bare.address)
    assert {k: (m.warm, m.runnerVersion) for k, m in through.items()} == {k: (m.warm, m.runnerVersion) for k, m in without.items()}
