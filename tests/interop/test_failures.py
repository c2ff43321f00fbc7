"""Workers, orchestrators and the proxy die, hang and come back; streams go on."""
import concurrent.futures
import signal
import time

from harness import POOL_SECRET, address, until


def test_a_worker_killed_in_mid_segment_and_the_stream_survives(pool):
    orchestrator = pool.orchestrator()
    pool.serve()
    workers = {name: pool.worker(name, n) for n, name in enumerate(("first", "second"), 1)}
    pool.capacity(orchestrator, 20)
    gateway = pool.gateway_to(orchestrator)
    killed = 0
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        for seq in range(8):
            before = {name: len(w.tasks()) for name, w in workers.items()}
            answer = thread.submit(gateway.push, "stream", seq, pool.sources[seq])
            if seq in (2, 5):
                holder = until(lambda: next((w for n, w in workers.items() if len(w.tasks()) > before[n]), None), 10, "a task")
                assert not answer.done(), "in mid-segment"
                holder.kill()
                killed += 1
            result = answer.result(60)
            assert result.ok, f"segment {seq}: {result.error}"
            if seq in (2, 5):
                pool.worker(f"heir{seq}", 3 + seq)
                workers = {n.name: n for n in pool.nodes if n.name in ("first", "second") or n.name.startswith("heir") if n.alive()}
    assert killed == 2
    assert orchestrator.timed_out() == 0, "an unanswered task"
    pool.paid(8)


def test_a_hung_worker_and_the_orchestrator_keeps_our_registration(pool):
    orchestrator = pool.orchestrator()
    pool.serve()
    hangs = pool.worker("hangs", 1)
    works = pool.worker("works", 2)
    pool.capacity(orchestrator, 20)
    gateway = pool.gateway_to(orchestrator)
    names = [f"stream{n}" for n in range(4)]
    assert all(a.ok for a in pool.push_streams(gateway, names, 1))
    registered, ended = set(orchestrator.registered()), orchestrator.closed_streams()
    hangs.signal(signal.SIGSTOP)
    answers = pool.push_streams(gateway, names, 4, first=1)
    assert [(a.stream, a.seq, a.error) for a in answers if not a.ok] == []
    assert set(orchestrator.registered()) == registered, "the very same registrations"
    assert orchestrator.timed_out() == 0 and orchestrator.closed_streams() == ended
    done = len(works.tasks())
    assert done >= 12
    hangs.signal(signal.SIGCONT)


def test_the_orchestrator_restarts_and_workers_stay(pool):
    orchestrator = pool.orchestrator()
    pool.serve()
    workers = [pool.worker(f"worker{n}", n) for n in (1, 2)]
    pool.capacity(orchestrator, 20)
    gateway = pool.gateway_to(orchestrator)
    for life, end in enumerate((orchestrator.kill, orchestrator.stop)):
        assert all(a.ok for a in pool.push_streams(gateway, [f"before{life}a", f"before{life}b"], 2))
        end()
        time.sleep(1)
        orchestrator.start()
        pool.capacity(orchestrator, 20, 40)
        # Streams of the gateway find the new life by themselves; a new stream does at once.
        answers = pool.push_streams(gateway, [f"after{life}a", f"after{life}b"], 4)
        assert [(a.stream, a.seq, a.error) for a in answers if not a.ok] == []
    assert [w.registrations() for w in workers] == [1, 1], "workers did not notice"


def test_ten_streams_while_everything_restarts(pool):
    """Segments that were with us at a drain are finished; after a drain and a kill all is as before."""
    orchestrator = pool.orchestrator()
    pool.serve()
    for n in (1, 2, 3):
        pool.worker(f"worker{n}", n)
    pool.capacity(orchestrator, 30)
    gateway = pool.gateway_to(orchestrator)
    names = [f"stream{n}" for n in range(10)]
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        under_way = thread.submit(pool.push_streams, gateway, names, 3)
        time.sleep(1.5)
        assert pool.proxy.stop(signal.SIGTERM) == 0
        pool.proxy.start()
        drained = under_way.result(120)
        # What was with us at the SIGTERM was finished; what came while we were away was not ours.
        assert sum(a.ok for a in drained) >= 10
        pool.capacity(orchestrator, 30, 60)
        under_way = thread.submit(pool.push_streams, gateway, names, 3, first=3)
        time.sleep(1.5)
        pool.proxy.stop(signal.SIGKILL)
        pool.proxy.start()
        under_way.result(120)
    pool.capacity(orchestrator, 30, 60)
    # A gateway with one orchestrator may never come back to a stream that failed there, with or without us;
    # its encoder begins a new one.
    answers = pool.push_streams(gateway, [f"new{n}" for n in range(10)], 2)
    assert [(a.stream, a.seq, a.error) for a in answers if not a.ok] == []


def test_a_revoked_token_does_stop_the_worker(pool):
    pool.orchestrator()
    pool.serve(join=("invite",))
    token = pool.proxy.invite("rig1", address(1))
    token_id = token[:14]
    stays = pool.worker("stays", secret=pool.proxy.invite("rig2", address(2)))
    worker = pool.worker("rig1", secret=token)
    pool.proxy.run("worker", "revoke", token_id)
    # It ends for good, and for the reason that its code has for it.
    until(worker.retired, 30, "the worker's loop ended for good")
    assert "Terminating transcoder because of invalid secret" in worker.log
    assert worker.alive(), "the process stays up and idle"
    pool.may_retire = {"rig1"}
    until(lambda: len(pool.joined()) == 1, 10, "one worker less")
    assert not stays.retired()
    # Started anew it is still not let in.
    worker.stop()
    worker.start()
    until(worker.retired, 30, "refused again")


def test_a_wrong_secret_stops_the_worker_too(pool):
    pool.orchestrator()
    pool.serve()
    worker = pool.worker("stranger", secret=f"not-{POOL_SECRET}", wait=False)
    pool.may_retire = {"stranger"}
    until(worker.retired, 30, "refused")
    assert "Terminating transcoder because of invalid secret" in worker.log
    assert pool.joined() == []
