"""Restarts and drains of ours retire no stock worker."""
import random
import signal
import time

import pytest

from harness import until


def restart(pool, lives, workers, dice):
    """Counts lives of ours, one in two ended by SIGTERM. Each must be found again by every worker.

    A stock worker's back-off grows to a minute and never shrinks, so workers take turns: after a few drops one is
    replaced by a fresh process, which is what its operator's restart would do. It must not have retired till then.
    """
    drops, fresh = 0, 0
    crew = [pool.worker(f"worker{n}", n + 1) for n in range(workers)]
    for life in range(lives):
        until(lambda: len(pool.joined()) == workers, 90, f"all {workers} workers, life {life}")
        if dice.random() < 0.3:
            time.sleep(dice.random())
        assert pool.proxy.stop(signal.SIGTERM if life % 2 else signal.SIGKILL) in (0, -signal.SIGKILL)
        drops += workers
        assert [w.name for w in crew if w.retired()] == [], f"retired by life {life}"
        pool.proxy.start()
        if life % 5 == 4:
            until(lambda: len(pool.joined()) == workers, 90, f"all {workers} workers after life {life}")
            for n, worker in enumerate(crew):
                assert worker.alive() and not worker.retired()
                worker.stop()
                until(lambda: len(pool.joined()) == workers - 1, 20, "one less")
                fresh += 1
                crew[n] = pool.worker(f"worker{n}-{fresh}", n + 1)
    until(lambda: len(pool.joined()) == workers, 90, "all workers at the end")
    assert not any(w.retired() for w in crew)
    return drops


def test_restarts_and_drains_retire_nobody(pool):
    pool.orchestrator()
    pool.serve()
    assert restart(pool, 10, 4, random.Random(1)) == 40


@pytest.mark.long
def test_100_restarts_and_drains_retire_nobody(pool):
    """100 lives of ours, half of them drains, half kill -9: 200 drops of 2 workers."""
    pool.orchestrator()
    pool.serve()
    assert restart(pool, 100, 2, random.Random(2)) == 200
