"""No stock worker is retired but by a wrong secret."""
import os
import random
import signal

import pytest

from harness import POOL_SECRET, address, until

RESTARTS = int(os.environ.get("OPENPOOL_RESTARTS", "8"))
WORKERS = 4


@pytest.mark.parametrize("secret", ["wrong", f"{POOL_SECRET}x", "opw_0000000000000000"])
def test_a_wrong_secret_retires_and_says_so(pool, secret):
    pool.expect_retired = True
    pool.serve()
    worker = pool.worker("t", secret=secret)
    assert worker.process.wait(10) == 3
    assert worker.retired()[0]["why"] == "invalid secret"
    assert "RETIRED invalid secret" in worker.file.read_text()


def test_a_misspelt_address_is_told_so_and_may_try_again(pool):
    pool.serve()
    worker = pool.worker("t", secret="0x12.rig")
    said = until(lambda: worker.events("disconnected"), 10)[0]
    assert said["code"] == "UNAVAILABLE" and "0x12" in said["message"] and "address" in said["message"]
    assert worker.process.poll() is None


def test_no_capacity_retires(pool):
    pool.expect_retired = True
    pool.serve()
    worker = pool.worker("t", "--capacity", "0")
    assert worker.process.wait(10) == 3
    assert worker.retired()[0]["why"] == "zero capacity"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_restarts_retire_nobody(pool, number):
    pool.serve()
    worker = pool.worker("t", "--count", str(WORKERS), "--seconds", "0.2", secret=f"{POOL_SECRET}:{address(1)[:-2]}{{n}}")
    pool.capacity(10 * WORKERS)
    dice = random.Random(7)
    for life in range(RESTARTS):
        before = len(worker.events("task"))
        # Under way while it ends: sometimes in mid-task, sometimes idle.
        asked = [pool.threads[0].begin(pool.orch.segment(f"{life}-{n}", pool.orch.sources[n % 3])) for n in range(4)]
        until(lambda: len(worker.events("task")) >= before + 4, 5)
        dice.choice([lambda: None, lambda: [f.result(20) for f in asked]])()
        code = pool.proxy.stop(number)
        if number == signal.SIGTERM:
            assert code == 0, "a clean end"
            # It drained: everything under way was answered.
            assert all(f.result(1).ok for f in asked)
        pool.proxy.start()
        pool.capacity(10 * WORKERS)
    drops = worker.events("disconnected")
    assert len(drops) >= RESTARTS * WORKERS and worker.process.poll() is None
    pool.whole([pool.segment("after")])


def test_workers_that_come_and_go_never_end_our_registration_in_between(pool):
    pool.serve()
    stays = pool.worker("stays")
    pool.capacity(10)
    for n in range(3):
        comes = pool.worker(f"comes{n}", n=9)
        pool.capacity(20)
        pool.drive(4, 4, name=f"with-{n}")
        comes.stop()
        pool.drive(4, 4, name=f"without-{n}")
        until(lambda: 0 < pool.orch.capacity() <= 10, 20, "the lower capacity")
    pool.whole(pool.orch.outcomes)
    assert stays.events("disconnected") == []
