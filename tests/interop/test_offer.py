"""What the orchestrator and its gateways see of the pool, and what they may ask of it."""
import pytest

import media
import stock
from conftest import BINARIES
from harness import until
from orchestrator_rpc import capabilities, end_session

PROFILE = {"name": "small", "width": 256, "height": 144, "bitrate": 400_000, "fps": 30, "gop": "2", "profile": "h264baseline"}


def direct(pool, **named):
    """An orchestrator with a worker of its own, nothing of ours in between."""
    orchestrator = pool.orchestrator("direct")
    worker = pool.node(stock.StockTranscoder, "of-direct", orchestrator.address, orchestrator.secret, **named)
    until(lambda: orchestrator.capacity() > 0, 20, "the direct worker")
    return orchestrator, worker


def test_capacity_changes_arrive_at_the_orchestrator(pool):
    orchestrator = pool.orchestrator()
    pool.serve()
    assert orchestrator.registered() == []
    pool.worker("ten", 1)
    pool.capacity(orchestrator, 10)
    seven = pool.worker("seven", 2, sessions=7)
    pool.capacity(orchestrator, 17)
    seven.kill()
    pool.capacity(orchestrator, 10)
    pool.worker("three", 3, sessions=3)
    pool.capacity(orchestrator, 13)


def test_max_sessions_auto_follows_the_pool(pool):
    """Off-chain `-maxSessions auto` does nothing at the start: it is switched on where operators can, at its CLI port."""
    orchestrator = pool.orchestrator()
    pool.serve()
    assert stock.fetch(f"http://127.0.0.1:{orchestrator.cli}/setMaxSessions", b"maxSessions=auto")[0] == 200
    limit = lambda: orchestrator.metric("livepeer_max_sessions_total")
    pool.worker("first", 1, sessions=9)
    pool.capacity(orchestrator, 9)
    until(lambda: limit() == 9, 10, "a limit of 9 sessions")
    second = pool.worker("second", 2, sessions=8)
    pool.capacity(orchestrator, 17)
    until(lambda: limit() == 17, 10, "a limit of 17 sessions")
    second.kill()
    pool.capacity(orchestrator, 9)
    until(lambda: limit() == 9, 10, "a limit of 9 sessions again")


def test_a_gateway_sees_the_same_capabilities_as_without_us(pool):
    bare, _ = direct(pool)
    orchestrator = pool.orchestrator()
    pool.serve(orchestrator)
    pool.worker("worker")
    pool.capacity(orchestrator, 10)
    through, without = capabilities(orchestrator.address), capabilities(bare.address)
    # What a transcoder lists of AI pipelines it cannot do: an orchestrator hands AI jobs out by models alone.
    ai = {27, 28, 29, 30, 31, 32, 34, 36}
    assert set(through.bits) - ai == set(without.bits) - ai
    assert through.mandatories == without.mandatories
    assert through.version == without.version == pool.version


WISHES = ["mp4", "hevc-source", "hevc-rendition", "clip", "fractional", "intra", "as-source", "tall", "hash", "reinit"]


@pytest.mark.parametrize("wish", WISHES)
def test_a_capability_filter_acts_as_without_us(pool, wish):
    """The same wish of a real gateway with and without the pool in between: taken or refused alike."""
    bare, bare_worker = direct(pool)
    orchestrator = pool.orchestrator()
    pool.serve(orchestrator)
    worker = pool.worker("worker")
    pool.capacity(orchestrator, 10)
    source, profile = pool.sources[0], dict(PROFILE)
    headers, wishes = {}, {}
    if wish == "mp4":
        source = media.as_mp4(source)
    elif wish == "hevc-source":
        source = media.as_hevc(source)
    elif wish == "hevc-rendition":
        profile |= {"encoder": "HEVC", "profile": ""}
    elif wish == "fractional":
        profile |= {"fps": 30_000, "fpsDen": 1_001}
    elif wish == "intra":
        profile |= {"gop": "intra"}
    elif wish == "as-source":
        profile |= {"fps": 0, "gop": ""}
    elif wish == "tall":
        # Another shape than the source's: stock workers keep the source's.
        profile |= {"width": 256, "height": 256}
    elif wish == "hash":
        wishes = {"verificationFreq": 1}
    elif wish == "reinit":
        wishes = {"forceSessionReinit": True}
    elif wish == "clip":
        headers = {"Content-Slice-From": "500", "Content-Slice-To": "1500"}
    outcomes = []
    for name, target, w in (("through", orchestrator, worker), ("without", bare, bare_worker)):
        gateway = pool.gateway_to(target, name=f"gateway-{name}")
        answer = gateway.push(wish, 0, source, {"profiles": [profile], **wishes}, headers)
        shape = None
        if answer.ok:
            path = pool.folder / f"{name}.bin"
            path.write_bytes(*answer.renditions.values())
            shape = media.pixels(path)
        outcomes.append((answer.status, list(answer.renditions), shape, len(w.tasks())))
    assert outcomes[0] == outcomes[1]
    if not wish.startswith("hevc"):
        assert outcomes[0][0] == 200 and outcomes[0][3] == 1


def test_a_minimum_version_acts_as_without_us(pool):
    if pool.version == "undefined":
        pytest.skip("this binary tells no version")
    orchestrator = pool.orchestrator()
    pool.serve()
    worker = pool.worker("worker")
    pool.capacity(orchestrator, 10)
    least = pool.version.split("-")[0]
    gateway = pool.gateway_to(orchestrator, name="modest", more=("-orchMinLivepeerVersion", least))
    assert gateway.push("modest", 0, pool.sources[0]).ok
    gateway = pool.gateway_to(orchestrator, name="greedy", more=("-orchMinLivepeerVersion", "99.0.0"))
    assert gateway.push("greedy", 0, pool.sources[0]).status == 503
    assert len(worker.tasks()) == 1


@pytest.mark.skipif(len(BINARIES) == 1, reason="needs two livepeer binaries of different versions")
def test_among_workers_of_two_versions_the_new_one_gets_what_asks_for_it(pool):
    """A stock orchestrator with both workers gives such a segment to the new one; so must we."""
    versions = sorted((tuple(int(n) for n in stock.version_of(b).split("-")[0].split(".")), b) for b in BINARIES)
    (old_version, old), (new_version, new) = versions[0], versions[-1]
    assert old_version < new_version
    orchestrator = pool.orchestrator(binary=new)
    pool.serve()
    elder = pool.worker("elder", 1, binary=old)
    younger = pool.worker("younger", 2, binary=new)
    pool.capacity(orchestrator, 20)
    least = ".".join(str(n) for n in new_version)
    gateway = pool.gateway_to(orchestrator, binary=new, more=("-orchMinLivepeerVersion", least))
    answers = pool.push_streams(gateway, ["one", "two", "three"], 2)
    assert [(a.stream, a.seq, a.error) for a in answers if not a.ok] == []
    assert len(younger.tasks()) == 6 and elder.tasks() == []


def test_session_teardown_arrives_at_the_worker(pool):
    """A gateway's last word on a session, as it says it: the orchestrator tells its worker, and so do we."""
    orchestrator = pool.orchestrator()
    pool.serve()
    taps = [pool.tap(), pool.tap()]
    for n, tap in enumerate(taps, 1):
        pool.worker(f"worker{n}", n, dial=tap.dial)
    pool.capacity(orchestrator, 20)
    gateway = pool.gateway_to(orchestrator)
    assert all(a.ok for a in pool.push_streams(gateway, ["one", "two", "three", "four"], 2))
    # A session is with the worker that had its last task.
    tasks = sorted(((at, n, tap) for tap in taps for at, n in tap.notices), key=lambda task: task[0])
    tokens = {n.segData.auth_token.session_id: n.segData.auth_token for _, n, _ in tasks}
    holder = {n.segData.auth_token.session_id: tap for _, n, tap in tasks}
    held = [{session for session, at in holder.items() if at is tap} for tap in taps]
    assert all(tap.teardowns() == [] for tap in taps)
    for token in tokens.values():
        end_session(orchestrator.address, token)
    for tap, sessions in zip(taps, held):
        until(lambda: set(tap.teardowns()) == sessions, 10, "the end of every session at who held it")
        assert len(tap.teardowns()) == len(sessions), "once each"


@pytest.mark.long
def test_session_teardown_arrives_by_itself(pool):
    """An encoder that just stops: 70 s later the orchestrator ends the session."""
    orchestrator = pool.orchestrator()
    pool.serve()
    tap = pool.tap()
    pool.worker("worker", dial=tap.dial)
    pool.capacity(orchestrator, 10)
    gateway = pool.gateway_to(orchestrator)
    assert gateway.push("stream", 0, pool.sources[0]).ok
    (session,) = {n.segData.auth_token.session_id for n in tap.tasks().values()}
    until(lambda: tap.teardowns() == [session], 150, "the end of the session")
