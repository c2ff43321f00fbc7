"""Bad workers beside a good one: no segment is lost, and no registration."""
import time

import pytest

from harness import until

# Mode, flags, and whether the bad worker must have earned nothing.
BAD = ["fail", "hang", "stall", "cheat", "echo", "die", "late"]


@pytest.mark.parametrize("mode", BAD)
def test_nothing_is_lost_beside_a_worker_that_does(pool, mode):
    pool.serve()
    bad = pool.worker("bad", "--mode", mode, "--late", "8.5")
    pool.capacity(10)
    good = pool.worker("good")
    pool.capacity(20)
    # One after another on new sessions, until the bad one had its chance.
    for n in range(24):
        pool.whole([pool.segment(f"s{n}", n % 3)])
        if n >= 5 and bad.events("task"):
            break
    assert bad.events("task"), "the bad worker was never asked: this showed nothing"
    sent = len(pool.orch.outcomes)
    until(lambda: len(good.events("posted")) >= sent, 5, "the good worker's answers")
    assert pool.orch.registrations_lost == 0
    if mode in ("cheat", "echo"):
        (first, *_) = until(lambda: bad.events("posted"), 5)
        assert 400 <= first["status"] < 500 and first["body"], "it is told why"
        assert len(first["body"]) <= 300 and "\n\n" not in first["body"]
    if mode == "late":
        late = until(lambda: bad.events("posted"), 15)
        assert late[0]["status"] == 410
    rows = pool.paid(sent)
    assert len(rows) == 1, "only the good one earned"


def test_the_inputs_own_fault_goes_up_word_for_word_and_nowhere_else(pool):
    pool.serve()
    for n in (1, 2):
        pool.worker(f"t{n}", "--mode", "fail", "--fail-text", "No keyframes in input")
    pool.capacity(20)
    assert pool.segment().error == "No keyframes in input"
    assert sum(len(w.events("task")) for w in pool.workers) == 1, "one try is enough"


def test_a_text_that_names_us_does_not_go_up(pool):
    pool.serve()
    pool.worker("t1", "--mode", "fail", "--fail-text", f"Get https://{pool.proxy.address}/x: 100% gone")
    pool.capacity(10)
    error = pool.segment().error
    assert error and pool.proxy.address not in error and "%" not in error


def test_a_hung_pool_answers_before_the_budget(pool):
    pool.serve()
    pool.worker("hung", "--mode", "hang")
    pool.capacity(10)
    outcome = pool.segment()
    assert outcome.error and outcome.error != "Remote transcoder took too long"
    assert outcome.seconds <= 7.75, "the budget is 8 s, and 300 ms are to be left"
    assert pool.orch.live(), "still registered"


def test_a_worker_killed_in_mid_task_costs_no_time(pool):
    pool.serve()
    slow = pool.worker("slow", "--seconds", "3")
    pool.capacity(10)
    running = pool.threads[0].begin(pool.orch.segment("s", pool.orch.sources[0]))
    until(lambda: slow.events("task"), 5)
    quick = pool.worker("quick")
    until(lambda: quick.events("dialled"), 5)
    time.sleep(0.2)
    slow.process.kill()
    killed = time.time()
    pool.whole([running.result(10)])
    # By the connection's end, not by patience running out (1.5 s at the least after the task was given).
    assert quick.events("task")[0]["at"] - killed < 0.4
