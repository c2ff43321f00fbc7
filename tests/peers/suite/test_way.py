"""The way of a segment through the pool, seen from both ends."""
import ssl

import harness
from harness import POOL_SECRET, PRICE, address, until


def money(row, name):
    """An amount of a report: a string, since JSON numbers end at 53 bits."""
    amount = row[f"{name}_wei"]
    assert isinstance(amount, str)
    return int(amount)


def test_40_segments_arrive_byte_for_byte_and_are_paid_to_the_wei(pool):
    pool.serve()
    names = {}
    for n in (1, 2):
        pool.worker(f"t{n}", "--seconds", "0.1", n=n)
        names[f"t{n}"] = address(n)
    pool.capacity(20)
    pool.drive(40, 4)
    pool.whole(pool.orch.outcomes)
    assert len(pool.orch.outcomes) == 40
    accepted = {(o.session, o.seq): sum(o.pixels) for o in pool.orch.outcomes}
    rows = pool.paid(40)
    assert len(rows) == 2, "both worked"
    total = 0
    for worker in pool.workers:
        # The fees by this test's own reckoning, from what each worker says it posted.
        posted = [e for e in worker.events("posted") if e["status"] == 200]
        gross = sum(accepted[e["session"], e["seq"]] for e in posted) * PRICE
        row = next(r for key, r in rows.items() if names[worker.name] in key.lower() or names[worker.name] in str(r).lower())
        assert row["segments"] == len(posted)
        assert money(row, "gross") == gross
        assert money(row, "worker") == gross * 7500 // 10_000
        assert money(row, "commission") == gross * 2500 // 10_000
        total += gross
    assert total == sum(accepted.values()) * PRICE
    (orchestrator,) = pool.proxy.report("orchestrator").values()
    assert orchestrator["segments"] == 40 and money(orchestrator, "gross") == total


def test_unknown_fields_and_everything_else_reach_the_worker(pool):
    pool.serve()
    worker = pool.worker("t1")
    pool.capacity(1)
    pool.drive(6, 2)
    tasks = worker.events("task")
    assert len(tasks) == 6
    upstream = {(o.session, o.seq): o.task for o in pool.orch.outcomes}
    for e in tasks:
        task = upstream[e["session"], e["seq"]]
        assert e["unknown"] == [[99, f"outer {task}"]]
        assert e["seg_unknown"] == [[99, f"inner {task}"]]
        assert (e["orch"], e["manifest"], e["token"]) == ("offchain", e["session"], f"token of {e['session']}")
        assert e["task"] != task and 0 < e["task"] < 1 << 63, "the number towards the worker is ours"
        assert pool.orch.address not in e["url"], "the source comes from us"


def test_task_0_is_a_task(pool):
    pool.serve()
    pool.worker("t1")
    pool.capacity(1)
    outcome = pool.segment()
    assert outcome.task == 0
    pool.whole([outcome])


def test_the_end_of_a_session_reaches_the_worker_that_held_it(pool):
    pool.serve()
    workers = [pool.worker(f"t{n}") for n in (1, 2)]
    pool.capacity(20)
    pool.drive(8, 4)
    for worker in workers:
        held = {e["session"] for e in worker.events("task")}
        until(lambda: {e["session"] for e in worker.events("teardown")} == held, 5, "every teardown")
        assert len(worker.events("teardown")) == len(held), "once each"


def test_a_perceptual_hash_that_was_asked_for_comes_through(pool):
    pool.serve()
    pool.worker("t1")
    pool.capacity(1)
    pool.whole([pool.segment(phash=True)])


def test_a_segment_that_nobody_can_do_is_not_sent_to_anybody(pool):
    pool.serve()
    worker = pool.worker("t1", "--version", "0.8.7")
    pool.capacity(1)
    assert pool.segment(min_version="0.9.0").error
    assert pool.segment(bits=(0, 1, 16)).error
    assert worker.events("task") == []
    pool.whole([pool.segment()])


def test_fields_of_our_registration_suit_a_stock_orchestrator(pool):
    pool.serve()
    pool.worker("t1", "--version", "0.8.9-abc123", "--capacity", "7")
    pool.worker("t2", "--version", "0.8.8", "--capacity", "6")
    pool.capacity(13)
    live = pool.orch.live()
    assert sum(r.capacity for r in live) == 13
    assert len({r.peer for r in live}) == len(live), "each on a connection of its own"
    for r in live:
        assert r.version.startswith("0.8.9"), "the highest of all: who gets a segment is our choice"
        bits = [b for b in range(64) if r.bits[0] >> b & 1]
        assert set(range(13)) <= set(bits) and not set(range(27, 37)) & set(bits), "transcoding, not AI"
        assert sorted(r.capabilities.capacities) == bits, "the map holds every bit that shall be seen"


def test_two_orchestrators_with_equal_task_ids(pool):
    pool.orchestrator()
    pool.orchestrator(secret="another-secret")
    pool.serve()
    pool.worker("t1")
    pool.worker("t2")
    pool.capacity(1, 0)
    pool.capacity(1, 1)
    both = [t.begin(harness_drive(t)) for t in pool.threads]
    for future in both:
        future.result(60)
    for thread in pool.threads:
        outcomes = thread.orchestrator.outcomes
        assert sorted(o.task for o in outcomes) == list(range(12))
        pool.whole(outcomes)
    rows = pool.paid(24, "orchestrator")
    assert [r["segments"] for r in rows.values()] == [12, 12]


async def harness_drive(thread):
    # The same session names on both: they are not the same sessions.
    import orchestrator
    await orchestrator.drive(thread.orchestrator, 12, 3)


def test_a_restarted_orchestrator_is_found_again_and_no_worker_notices(pool):
    pool.serve()
    workers = [pool.worker(f"t{n}") for n in (1, 2)]
    pool.capacity(20)
    pool.drive(6, 2)
    for life in range(2):
        before = len(pool.orch.outcomes)
        pool.call(pool.orch.restart(pause=0.2))
        pool.capacity(20)
        pool.drive(6, 2, name=f"life-{life}")
        outcomes = pool.orch.outcomes[before:]
        pool.whole(outcomes)
        assert min(o.task for o in outcomes) == 0, "its TaskIds began again"
    for worker in workers:
        assert worker.events("disconnected") == []
    pool.paid(18)


def test_workers_may_come_long_before_the_orchestrator(pool):
    orchestrator = pool.orchestrator(start=False)
    orchestrator.port = harness.free_port()
    pool.serve()
    worker = pool.worker("t1")
    until(lambda: worker.events("dialled"), 10)
    pool.threads[0].start()
    pool.capacity(1)
    pool.whole([pool.segment()])
    assert worker.events("disconnected") == []


def test_a_certificate_of_our_own_making_will_do_and_is_kept(pool):
    pool.serve(self_signed=True)
    pool.worker("t1")
    pool.capacity(1)
    first = ssl.get_server_certificate(("127.0.0.1", pool.proxy.port))
    pool.whole([pool.segment()])
    pool.proxy.stop()
    pool.proxy.start()
    pool.capacity(1)
    assert ssl.get_server_certificate(("127.0.0.1", pool.proxy.port)) == first
    pool.whole([pool.segment()])


def test_a_stranger_may_join_an_open_pool_with_an_address(pool):
    pool.serve()
    pool.worker("open", secret=f"{address(77)}.rig")
    pool.capacity(1)
    pool.whole([pool.segment()])
    rows = pool.paid(1)
    assert list(rows)[0].lower() == f"{address(77)}.rig"


def test_an_invited_worker_is_paid_under_its_name(pool):
    pool.orchestrator()
    proxy = harness.Proxy(pool.folder, [pool.orch], join=("invite",))
    token = proxy.invite("rig1", address(5))
    pool.proxy = proxy.start()
    pool.worker("invited", secret=token)
    later = pool.worker("later", secret=proxy.invite("rig2", address(6)))
    pool.capacity(20)
    assert later.events("disconnected") == [], "an invitation made while serving holds at once"
    pool.whole([pool.segment(f"s{i}") for i in range(4)])
    rows = pool.paid(4)
    assert set(rows) <= {"rig1", "rig2"}


def test_the_forks_address_is_taken_where_workers_name_their_own(pool):
    pool.serve()
    pool.worker("fork", "--eth-address", "11" * 20, secret=POOL_SECRET)
    pool.capacity(1)
    pool.whole([pool.segment()])
    rows = pool.paid(1)
    assert "11" * 20 in str(rows).lower()
