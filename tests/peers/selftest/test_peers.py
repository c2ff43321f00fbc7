"""What the peers must do by the stock rules, before anything is judged by them."""
import asyncio
import time

import h2.errors
import httpx
import pytest

import orchestrator as o
import peer_media
import peer_multipart
from transcoder import any_certificate


def test_40_segments_come_back_byte_for_byte(on_bench):
    async def test(bench):
        orch = await bench.start()
        bench.transcoder("t1")
        bench.transcoder("t2")
        await bench.registered(2)
        await o.drive(orch, 40, 4)
        assert [x.error for x in orch.outcomes] == [None] * 40
        for x in orch.outcomes:
            source = next(s for s in orch.sources if s.name == x.source)
            assert x.parts == [source.renditions[size] for size in peer_media.SIZES]
            assert x.pixels == [426 * 240 * 60, 256 * 144 * 60]
            assert x.decoded == 640 * 360 * 60
        assert {e["who"] for e in bench.of("task")} == {"t1", "t2"}, "least loaded first"
        assert sorted(x.task for x in orch.outcomes) == list(range(40)), "TaskIds count from 0"
        await bench.until(lambda: len(bench.of("teardown")) == 4)
        assert {p["version"] for p in orch.posts} == {2}
    on_bench(test)


def test_sessions_stay_with_their_registration_and_unknown_fields_arrive(on_bench):
    async def test(bench):
        orch = await bench.start()
        bench.transcoder("t1")
        bench.transcoder("t2")
        await bench.registered(2)
        await o.drive(orch, 12, 2)
        for session in ("session-0", "session-1"):
            assert len({e["who"] for e in bench.of("task") if e["session"] == session}) == 1
        for e in bench.of("task"):
            assert e["unknown"] == [[99, f"outer {e['task']}"]]
            assert e["seg_unknown"] == [[99, f"inner {e['task']}"]]
    on_bench(test)


def test_a_task_left_unanswered_costs_the_whole_registration_after_its_budget(on_bench):
    async def test(bench):
        orch = await bench.start(least_budget=0.5)
        bench.transcoder("hung", mode="hang")
        await bench.registered()
        started = time.monotonic()
        outcome = await orch.segment("s", orch.sources[0], duration_ms=150)
        assert outcome.error == "Remote transcoder took too long"
        assert 0.6 <= time.monotonic() - started < 1.5, "the longer of the floor and 4 x duration"
        assert orch.registrations_lost == 1 and orch.live() == []
        assert (await orch.segment("s", orch.sources[0])).error == "no transcoders available"
        await asyncio.sleep(0.3)
        assert len(orch.registered) == 1, "it waits for its running job before it reconnects"
    on_bench(test)


def test_the_budget_runs_until_the_last_byte_was_read(on_bench):
    async def test(bench):
        orch = await bench.start(least_budget=0.5)
        bench.transcoder("slow", mode="stall")
        await bench.registered()
        outcome = await orch.segment("s", orch.sources[0], duration_ms=100)
        assert outcome.error == "Remote transcoder took too long"
        assert len(bench.of("stall")) == 1 and orch.registrations_lost == 1
    on_bench(test)


def test_an_error_result_ends_the_tie_but_not_the_registration(on_bench):
    async def test(bench):
        orch = await bench.start()
        bench.transcoder("bad", mode="fail", bad=1)
        await bench.registered()
        assert (await orch.segment("s", orch.sources[0])).error == "Decoder not found"
        assert orch.ties == {} and orch.live()[0].load == 0
        assert (await orch.segment("s", orch.sources[0])).ok
        assert orch.registrations_lost == 0 and bench.of("teardown") == []
    on_bench(test)


@pytest.mark.parametrize("settings, why", [({"secret": "wrong"}, "invalid secret"), ({"capacity": 0}, "zero capacity")])
def test_a_refused_transcoder_retires(on_bench, settings, why):
    async def test(bench):
        orch = await bench.start()
        bench.transcoder("t", **settings)
        await asyncio.wait_for(bench.running[0], 10)
        assert bench.running[0].result() == why and orch.refusals == [why]
        assert bench.of("disconnected")[0]["code"] == "UNKNOWN"
    on_bench(test)


def test_rst_stream_cancel_retires_and_refused_stream_does_not(on_bench):
    async def test(bench):
        orch = await bench.start()
        bench.transcoder("t")
        await bench.registered()
        orch.live()[0].exchange.reset(h2.errors.ErrorCodes.REFUSED_STREAM)
        await bench.until(lambda: len(orch.registered) == 2)
        assert bench.of("retired") == []
        await bench.registered()
        orch.live()[0].exchange.reset(h2.errors.ErrorCodes.CANCEL)
        await bench.until(lambda: bench.of("retired"))
        assert bench.of("retired")[0]["why"] == "Execution interrupted"
    on_bench(test)


def test_capacity_counts_sessions(on_bench):
    async def test(bench):
        orch = await bench.start()
        bench.transcoder("t", capacity=1)
        await bench.registered()
        assert (await orch.segment("a", orch.sources[0])).ok
        assert (await orch.segment("b", orch.sources[0])).error == "no transcoders available"
        await orch.end_session("a")
        assert (await orch.segment("b", orch.sources[0])).ok
    on_bench(test)


def test_capabilities_and_version_decide(on_bench):
    async def test(bench):
        orch = await bench.start()
        bench.transcoder("old", version="0.8.7", bits=(0, 1, 2, 4, 12))
        await bench.registered()
        nobody = "no compatible transcoders available"
        assert (await orch.segment("a", orch.sources[0], min_version="0.8.8")).error == nobody
        assert (await orch.segment("a", orch.sources[0], bits=(0, 1, 15))).error == nobody
        assert (await orch.segment("a", orch.sources[0], min_version="0.8.7-abc")).ok
    on_bench(test)


def test_one_session_holds_one_running_and_four_waiting(on_bench):
    async def test(bench):
        orch = await bench.start()
        bench.transcoder("t", seconds=0.2)
        await bench.registered()
        asked = [asyncio.ensure_future(orch.segment("s", orch.sources[0])) for _ in range(6)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert [isinstance(a, o.Refused) for a in answers] == [False] * 5 + [True]
        assert [a.task for a in answers[:5]] == [0, 1, 2, 3, 4], "serial"
    on_bench(test)


def test_a_restarted_orchestrator_counts_from_0_with_a_new_certificate(on_bench):
    async def test(bench):
        orch = await bench.start()
        bench.transcoder("t")
        await bench.registered()
        first = (await orch.segment("s", orch.sources[0])).task
        await orch.restart()
        await bench.registered()
        again = await orch.segment("s", orch.sources[1])
        assert (first, again.task, again.ok) == (0, 0, True)
        assert bench.of("retired") == []
    on_bench(test)


def test_a_perceptual_hash_part_is_told_apart(on_bench):
    async def test(bench):
        orch = await bench.start()
        bench.transcoder("t")
        await bench.registered()
        outcome = await orch.segment("s", orch.sources[0], phash=True)
        assert outcome.ok and len(outcome.parts) == 2
    on_bench(test)


GOOD = {"Authorization": "Livepeer-Transcoder-1.0", "Credentials": "orch-secret", "TaskId": "5", "Pixels": "9"}
KIND, BODY = peer_multipart.write([("video/mp2t", 7, b"x" * 30)])
CHECKS = [
    ({"Authorization": "none"}, KIND, BODY, 401, "Unauthorized\n"),
    ({"Credentials": "none"}, None, BODY, 401, "Unauthorized\n"),
    ({"TaskId": "abc"}, None, BODY, 415, None),
    ({"TaskId": "abc"}, KIND, BODY, 400, "Invalid Task ID\n"),
    ({"TaskId": str(1 << 63)}, KIND, BODY, 400, "Invalid Task ID\n"),
    ({"Pixels": ""}, "livepeer/transcoding-error", b"no", 200, "OK"),
    ({"Pixels": "many"}, KIND, BODY, 400, "Invalid Pixels\n"),
    ({}, "video/mp2t", BODY, 200, "OK"),
    ({}, KIND, BODY[:-20], 500, None),
    ({}, KIND, BODY, 200, "OK"),
]


@pytest.mark.parametrize("change, kind, body, status, text", CHECKS)
def test_results_are_checked_in_the_stock_order(on_bench, change, kind, body, status, text):
    async def test(bench):
        orch = await bench.start()
        headers = GOOD | change | ({"Content-Type": kind} if kind else {})
        async with httpx.AsyncClient(http1=False, http2=True, verify=any_certificate(), trust_env=False) as client:
            answer = await client.post(f"https://{orch.address}/transcodeResults", headers=headers, content=body)
        assert answer.status_code == status
        assert text in (None, answer.text)
    on_bench(test)
