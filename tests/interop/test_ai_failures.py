"""AI jobs while runners refuse, workers and orchestrators die, and the proxy restarts."""
import signal
import threading
import time

import pytest

import stock
from ai_both import ASKED, DOORS, WORKERS, Both
from ai_runner import chunk
from ai_stock import InThread, offered, wait_offered
from conftest import BINARIES
from harness import address, until

DETAIL = {"detail": {"msg": "not so: a NSFW prompt"}}
FIELDS = {"detail": [{"loc": ["body", "prompt"], "msg": "field required", "type": "value_error.missing"}]}
# Each pipeline refuses in another way; all that a runner may say is here.
REFUSALS = {
    "text-to-image": (400, DETAIL),
    "segment-anything-2": (401, DETAIL),
    "audio-to-text": (413, DETAIL),
    "image-to-text": (413, DETAIL),
    "image-to-image": (422, FIELDS),
    "text-to-speech": (422, FIELDS),
    "upscale": (500, DETAIL),
    "llm": (500, DETAIL),
}
# As the stock error texts call them.
SPELLED = {"segment-anything-2": "segment anything 2", "llm": "LLM"}
# One that needs no file, and one that brings some.
FEW = ("llm", "text-to-image")


@pytest.mark.parametrize("worker", WORKERS)
@pytest.mark.parametrize("door", DOORS)
def test_a_runners_errors_reach_the_gateway_as_without_us(pool, door, worker):
    both = Both(pool, tuple(REFUSALS), door=door, worker=worker)
    expected = set()
    for pipeline, (status, body) in REFUSALS.items():
        both.rule("fail", pipeline, status, body)
        through, without = both.ask(pipeline, *ASKED[pipeline])
        # A stock gateway takes a failed segment-anything-2 or image-to-text for an empty success.
        assert through.outcome == without.outcome, pipeline
        told = lambda gateway: [e for e in gateway.errors() if f"{SPELLED.get(pipeline, pipeline)} container" in e]
        if (door, worker) == ("runner-port", "http-runner") and status in (401, 500):
            # Such an answer is dropped for another runner's; where there is none, its words are lost.
            (blunt,) = told(both.through)
            assert "container returned 500: no worker of the pool can take this now" in blunt
        else:
            assert told(both.through) == told(both.without), pipeline
        expected |= set(both.without.errors())
    assert len(expected) >= len(REFUSALS) - 2, "each was told"
    for runner in (both.runner, both.bare_runner):
        runner.rules.clear()
    for pipeline in REFUSALS:
        through, without = both.ask(pipeline, *ASKED[pipeline])
        assert through.status == without.status == 200, (pipeline, through.body, without.body)


def two_workers(pool, pipelines=FEW, capacity=2):
    """An orchestrator, a pool of two workers at one runner, a gateway."""
    runner = pool.runner()
    orchestrator = pool.orchestrator()
    pool.serve(orchestrator)
    workers = [pool.ai_worker(f"worker{n}", runner, n, pipelines=pipelines, capacity=capacity) for n in (1, 2)]
    wait_offered(orchestrator, dict.fromkeys(pipelines, 2 * capacity))
    return runner, orchestrator, workers, pool.ai_gateway(orchestrator)


def wait_back(orchestrator, capacity):
    """All is on offer again. An orchestrator's count of a model that had jobs is above what we offer: it adds one for
    each job, and forgets none of them when a worker goes. So this looks at the one that had none."""
    until(lambda: offered(orchestrator).get("llm") == capacity, 90, f"llm x{capacity} offered again")


def ask(gateway, pipeline="text-to-image"):
    return gateway.ask(pipeline, *ASKED[pipeline])


def holder(workers, before):
    """Who was given a job since."""
    return until(lambda: next((w for w, n in zip(workers, before) if len(w.tasks()) > n), None), 20, "a job at a worker")


def test_an_ai_worker_killed_in_mid_job_and_the_job_survives(pool):
    runner, orchestrator, workers, gateway = two_workers(pool)
    gate = threading.Event()
    runner.hold("text-to-image", gate)
    before = [len(w.tasks()) for w in workers]
    asked = InThread(ask, gateway)
    first = holder(workers, before)
    until(lambda: len(runner.jobs) == 1, 20, "the job at the runner")
    assert not asked.done
    first.kill()
    until(lambda: len(runner.jobs) == 2, 20, "the job at the runner again, by the other worker")
    gate.set()
    said = asked.result()
    assert said.status == 200, said.body
    assert gateway.errors() == []
    capacity = {p: n for p, n in offered(orchestrator).items()}
    assert set(capacity) == set(FEW), "still on offer"


def test_an_ai_worker_killed_in_mid_stream_ends_the_stream(pool):
    runner, orchestrator, workers, gateway = two_workers(pool)
    gate = threading.Event()

    def chunks(job):
        for n in range(3):
            yield chunk(job, {"index": 0, "delta": {"role": "assistant", "content": f"w{n} "}})
        gate.wait(60)

    runner.stream(chunks)
    before, seen = [len(w.tasks()) for w in workers], []
    asked = InThread(gateway.stream, "go on", seen=seen.append)
    first = holder(workers, before)
    until(lambda: len(seen) == 3, 20, "three words at the gateway's caller")
    first.kill()
    got = [value for _, value in asked.result(30)]
    gate.set()
    assert [one["choices"][0]["delta"]["content"] for one in got[:3]] == ["w0 ", "w1 ", "w2 "]
    # It cannot go on elsewhere; its end is told, so that nobody waits.
    assert got[-1]["choices"][0]["finish_reason"]
    runner.rules.clear()
    assert len(gateway.stream("again")) == 20


def test_the_orchestrator_restarts_and_ai_workers_stay(pool):
    runner, orchestrator, workers, gateway = two_workers(pool)
    for end in (orchestrator.kill, orchestrator.stop):
        assert ask(gateway).status == 200
        gate = threading.Event()
        runner.hold("text-to-image", gate)
        jobs = len(runner.jobs)
        lost = InThread(ask, gateway)
        until(lambda: len(runner.jobs) > jobs, 20, "a job at the runner")
        end()
        gate.set()
        lost.result(60)
        runner.rules.clear()
        time.sleep(1)
        orchestrator.start()
        wait_offered(orchestrator, dict.fromkeys(FEW, 4), 60)
        gateway = pool.ai_gateway(orchestrator, name=f"gateway-{end.__name__}")
        assert ask(gateway).status == 200 and len(gateway.stream("on")) == 20
    assert [w.registrations() for w in workers] == [1, 1], "workers did not notice"


def test_we_restart_and_ai_workers_come_back(pool):
    """A drain finishes the job that is with us; after a drain and after a kill everything is as before."""
    runner, orchestrator, workers, gateway = two_workers(pool)
    gate = threading.Event()
    runner.hold("text-to-image", gate)
    held = InThread(ask, gateway)
    until(lambda: len(runner.jobs) == 1, 20, "a job at the runner")
    drain = InThread(pool.proxy.stop, signal.SIGTERM, 60)
    time.sleep(1)
    gate.set()
    assert held.result().status == 200, "what was with us at the SIGTERM was finished"
    assert drain.result() == 0
    runner.rules.clear()
    pool.proxy.start()
    wait_back(orchestrator, 4)
    assert ask(pool.ai_gateway(orchestrator, name="after-a-drain")).status == 200
    pool.proxy.stop(signal.SIGKILL)
    pool.proxy.start()
    wait_back(orchestrator, 4)
    assert ask(pool.ai_gateway(orchestrator, name="after-a-kill")).status == 200
    assert not any(w.retired() for w in workers)


def test_ai_capacity_changes_arrive_at_the_orchestrator(pool):
    runner, orchestrator = pool.runner(), pool.orchestrator()
    pool.serve(orchestrator)
    assert offered(orchestrator) == {}
    pool.ai_worker("three", runner, 1, pipelines=FEW, capacity=3)
    wait_offered(orchestrator, dict.fromkeys(FEW, 3))
    gone = pool.ai_worker("four", runner, 2, pipelines=("llm", "upscale"), capacity=4)
    wait_offered(orchestrator, {"llm": 7, "text-to-image": 3, "upscale": 4})
    gone.kill()
    wait_offered(orchestrator, dict.fromkeys(FEW, 3))


def test_jobs_above_the_capacity_are_refused_as_without_us(pool):
    both = Both(pool, FEW, capacity=1)
    gate = threading.Event()
    both.rule("hold", "text-to-image", gate)
    held = [InThread(ask, gateway) for gateway in (both.through, both.without)]
    for runner in (both.runner, both.bare_runner):
        until(lambda: len(runner.of("text-to-image")) == 1, 20, "a job at the runner")
    through, without = both.ask("text-to-image", *ASKED["text-to-image"])
    assert through.status != 200 and through.outcome == without.outcome
    assert both.through.errors() == both.without.errors()
    gate.set()
    assert [one.result().status for one in held] == [200, 200]
    assert len(both.runner.of("text-to-image")) == 1, "the runner was asked for no more than it can"


def test_a_revoked_token_stops_an_ai_worker(pool):
    runner = pool.runner()
    orchestrator = pool.orchestrator()
    pool.serve(orchestrator, join=("invite",))
    token = pool.proxy.invite("rig1", address(1))
    worker = pool.ai_worker("rig1", runner, secret=token, pipelines=FEW)
    wait_offered(orchestrator, dict.fromkeys(FEW, 2))
    pool.proxy.run("worker", "revoke", token[:14])
    until(worker.retired, 30, "the worker's loop ended for good")
    assert "Terminating AI Worker because of invalid secret" in worker.log
    pool.may_retire = {"rig1"}
    wait_offered(orchestrator, {})


@pytest.mark.skipif(len(BINARIES) == 1, reason="needs two livepeer binaries of different versions")
def test_ai_workers_of_another_version_are_not_refused(pool):
    """An orchestrator turns AI workers below its own version away without a word; we are none of these."""
    orders = sorted((tuple(int(n) for n in stock.version_of(b).split("-")[0].split(".")), b) for b in BINARIES)
    (old_version, old), (new_version, new) = orders[0], orders[-1]
    assert old_version < new_version
    for n, (ours, theirs) in enumerate(((new, old), (old, new))):
        orchestrator = pool.orchestrator(f"orchestrator{n}", binary=ours)
        pool.serve(orchestrator)
        pool.ai_worker(f"worker{n}", pool.runner(), pipelines=FEW, binary=theirs)
        wait_offered(orchestrator, dict.fromkeys(FEW, 2), 60)
        gateway = pool.ai_gateway(orchestrator, name=f"gateway{n}", binary=ours)
        for pipeline in FEW:
            said = gateway.ask(pipeline, *ASKED[pipeline])
            assert said.status == 200, said.body
        pool.proxy.stop()
