"""AI jobs by each door to each kind of worker: a real gateway asks a real orchestrator, which has us for its AI
worker or for its runners; behind us are real AI workers, or HTTP runners.

Beside each pool stands an orchestrator with an AI worker or runners of its own, and nothing of ours in between. What
comes back must be the same, and both runners must have been asked the same.
"""
import concurrent.futures
import threading

import pytest

import ai_media
from ai_both import ASKED, DOORS, OF_FILES, WORKERS, Both
from ai_runner import PIPELINES, chunk
from ai_stock import offered
from harness import until
from orchestrator_rpc import models

PAIRS = [(door, worker) for door in DOORS for worker in WORKERS]


@pytest.fixture(scope="module", params=PAIRS, ids="-to-".join)
def both(livepeer, request, tmp_path_factory):
    """One pair for the tests that only ask; what breaks things has its own."""
    from conftest import Pool

    version, binary = livepeer
    pool = Pool(binary, version, tmp_path_factory.mktemp("both"), None)
    try:
        door, worker = request.param
        yield Both(pool, door=door, worker=worker)
    finally:
        pool.close()
    pool.judge()


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_pipelines_job_goes_through_as_without_us(both, pipeline):
    fields, file = ASKED[pipeline]
    if pipeline in both.lacks:
        assert pipeline not in offered(both.orchestrator)
        pytest.skip("frames by one road, a film by the other: this pair does not offer it")
    through, without = both.ask(pipeline, fields, file)
    if pipeline == "image-to-video" and without.status != 200:
        pytest.skip("this binary's own AI worker makes no films here")
    assert through.status == 200, through.body
    assert through.outcome == without.outcome
    # What the runner behind the worker was asked.
    job, bare_job = both.runner.of(pipeline)[-1], both.bare_runner.of(pipeline)[-1]
    assert job.fields == bare_job.fields
    assert job.file == bare_job.file == file
    if pipeline in OF_FILES:
        made = [ai_media.pixels(file) for file in through.files()]
        assert made == [ai_media.pixels(file) for file in without.files()]
        size = made[0][0]
        if both.door != "grpc":
            # A stock orchestrator keeps all pictures of a runner's answer under one name.
            return
        assert made == [(size, ai_media.pixels(ai_media.png(*size, job.seed + n))[1]) for n in range(len(made))]
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
    """Eight at a time; each is answered as without us."""
    def one(n, pipeline):
        fields, file = ASKED[pipeline]
        fields = {**fields, **({"seed": n} if "seed" in fields else {})}
        return pipeline, *both.ask(pipeline, fields, file)

    few = [p for p in both.pipelines if p != "image-to-video"]
    with concurrent.futures.ThreadPoolExecutor(len(few)) as threads:
        for n in range(5):
            answers = list(threads.map(lambda p: one(n, p), few))
            for pipeline, through, without in answers:
                assert through.status == 200 and through.outcome == without.outcome, (pipeline, through.body, without.body)
    if both.worker is not None:
        assert both.worker.registrations() == 1


def test_units_equal_what_the_orchestrator_would_charge(both):
    """By the table of prices: a row of the ledger for each job that was delivered."""
    expected = {
        "text-to-image": 80 * 64 * 2, "image-to-image": 48 * 32 * 2, "upscale": 48 * 32, "segment-anything-2": 48 * 32,
        "image-to-text": 48 * 32, "audio-to-text": 3_000, "llm": 64, "text-to-speech": 9_000, "image-to-video": 128 * 96 * 25,
    }
    before, delivered = units(both.pool), {}
    for pipeline in both.pipelines:
        # What is asked of one is asked of the other: an orchestrator's count of capacity grows by each job.
        through, _ = both.ask(pipeline, *ASKED[pipeline])
        if pipeline != "image-to-video":
            assert through.status == 200
        if through.status == 200:
            delivered[pipeline] = (1, expected[pipeline])

    def grown():
        rows = {p: (jobs - before.get(p, (0, 0))[0], n - before.get(p, (0, 0))[1]) for p, (jobs, n) in units(both.pool).items()}
        return {p: row for p, row in rows.items() if row != (0, 0)}
    until(lambda: grown() == delivered, 10, f"{delivered} in the ledger")


def units(pool):
    """{pipeline: (jobs, units)} of the ledger."""
    rows = pool.proxy.report("pipeline")
    return {name.split(" ")[0]: (row["jobs"], row["units"]) for name, row in rows.items() if row["units"] is not None}


def test_a_gateway_sees_the_same_models_as_without_us(both):
    """A stock orchestrator adds one to a remote AI worker's capacity with every job: only equal histories compare."""
    through, without = models(both.orchestrator.address), models(both.bare.address)
    told = lambda seen: {key: (m.warm, m.runnerVersion) for key, m in seen.items()}
    assert told(through) == told(without)
    few = {p for p in PIPELINES if p != "image-to-video"}
    count = lambda orchestrator: {p: n for p, n in offered(orchestrator).items() if p in few}
    assert count(both.orchestrator) == count(both.bare)
