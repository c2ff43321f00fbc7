"""A pool for a test: the built proxy among real `livepeer` processes, which `LIVEPEER_BIN` names."""
import concurrent.futures
import json
import os
import pathlib
import signal
import threading

import pytest

import ai_stock
import harness
import media
import stock
from ai_runner import Docker, Runner
from ai_stock import AiGateway, StockAiWorker
from harness import POOL_SECRET, Proxy, address, until
from peer_proto import REGISTER
from stock import StockGateway, StockOrchestrator, StockTranscoder
from tap import Tap

BINARIES = [pathlib.Path(p) for p in os.environ.get("LIVEPEER_BIN", "").split(":") if p]
NONE = "no livepeer binary: set LIVEPEER_BIN"
skipped = []


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="also what takes long: the 100 restarts at one go")


def pytest_configure(config):
    config.addinivalue_line("markers", "long: only with --long")
    # Told to end, it still ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("told to end", returncode=143))
    for binary in BINARIES:
        if not os.access(binary, os.X_OK):
            pytest.exit(f"LIVEPEER_BIN: {binary} is no program", returncode=2)


def pytest_generate_tests(metafunc):
    """Each binary runs the whole suite."""
    if "livepeer" in metafunc.fixturenames:
        versions = [(stock.version_of(b), b) for b in BINARIES]
        metafunc.parametrize("livepeer", versions or [("none", None)], ids=[v for v, _ in versions] or ["none"], scope="session")


def pytest_collection_modifyitems(config, items):
    if BINARIES and items and not harness.BINARY.exists():
        pytest.exit(f"no {harness.BINARY}: build it (cargo build), or name it by OPENPOOL_BIN", returncode=2)
    for item in items:
        if not BINARIES:
            skipped.append(item)
            item.add_marker(pytest.mark.skip(reason=NONE))
        elif item.get_closest_marker("long") and not config.getoption("--long"):
            item.add_marker(pytest.mark.skip(reason="takes long: --long"))


def pytest_terminal_summary(terminalreporter):
    if skipped:
        terminalreporter.write_line(f"interop: {len(skipped)} skipped ({NONE})")


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    return media.segments(tmp_path_factory.mktemp("media"), 20)


class Pool:
    """Processes of one test; they end with it."""

    def __init__(self, binary, version, folder, sources):
        self.binary, self.version, self.folder, self.sources = binary, version, folder, sources
        self.nodes, self.taps, self.locals = [], [], []
        self.proxy = self.gateway = None
        self.may_retire, self.retired = set(), set()
        # Stock software transcoders use the whole machine: more at once would only test its size.
        self.under_way = threading.Semaphore(4)

    def made(self, kind, *args, binary=None, **named):
        self.nodes.append(kind(binary or self.binary, self.folder, *args, **named))
        return self.nodes[-1]

    def node(self, kind, *args, **named):
        return self.made(kind, *args, **named).start()

    def orchestrator(self, name="orchestrator", **named):
        return self.node(StockOrchestrator, name, **named)

    def serve(self, *orchestrators, **settings):
        orchestrators = orchestrators or [n for n in self.nodes if isinstance(n, StockOrchestrator)]
        self.proxy = Proxy(self.folder / "proxy", orchestrators, **settings)
        return self.proxy.start()

    def tap(self):
        tap = Tap(self.proxy.port)
        self.taps.append(tap)
        return tap

    def worker(self, name, n=1, dial=None, secret=None, wait=True, **named):
        """A stock transcoder in our pool, paid to address `n`; it has joined when this returns."""
        dial, secret = dial or self.proxy.address, secret or f"{POOL_SECRET}:{address(n)}"
        before = len(self.joined())
        worker = self.node(StockTranscoder, name, dial, secret, **named)
        if wait:
            until(lambda: len(self.joined()) > before, 20, f"{name} in our pool")
        return worker

    def gateway_to(self, *orchestrators, kind=StockGateway, **named):
        self.gateway = self.node(kind, orchestrators, **named)
        return self.gateway

    def local(self, kind, **named):
        """A server of the tests' own, in a thread."""
        self.locals.append(kind(**named))
        return self.locals[-1]

    def runner(self, **named):
        return self.local(Runner, **named)

    def docker(self):
        return next((one for one in self.locals if isinstance(one, Docker)), None) or self.local(Docker)

    def ai_worker(self, name, runner, n=1, dial=None, secret=None, wait=True, binary=None, **listed):
        """A stock AI worker in our pool, as `worker` has it; `listed`: see `ai_stock.entries`."""
        dial, secret = dial or self.proxy.address, secret or f"{POOL_SECRET}:{address(n)}"
        joined = lambda: len(json.loads(self.proxy.get("/status")[1])["ai"]["workers"])
        before = joined() if wait else 0
        listed = ai_stock.entries(runner.base + "/{}", **listed)
        worker = self.node(StockAiWorker, name, dial, secret, self.docker(), listed, binary=binary)
        if wait:
            # It starts with half a second for each model.
            until(lambda: joined() > before, 60, f"{name} in our pool")
        return worker

    def ai_gateway(self, *orchestrators, **named):
        return self.gateway_to(*orchestrators, kind=AiGateway, **named)

    def joined(self):
        """Workers that our own status shows as connected."""
        return json.loads(self.proxy.get("/status")[1])["pool"]["workers"]

    def capacity(self, orchestrator, sessions, seconds=20):
        until(lambda: orchestrator.capacity() == sessions, seconds, f"{sessions} sessions registered at {orchestrator.name}")

    def push_streams(self, gateway, names, count, first=0, **named):
        """`count` segments of each stream: in order within one, all streams at once, few segments at once."""
        def push(name, seq):
            with self.under_way:
                return gateway.push(name, seq, self.sources[seq % len(self.sources)], **named)

        def one(name):
            return [push(name, seq) for seq in range(first, first + count)]
        with concurrent.futures.ThreadPoolExecutor(len(names)) as threads:
            return [answer for answers in threads.map(one, names) for answer in answers]

    def paid(self, segments, seconds=10):
        """The rows of the report once so many segments are in it."""
        def rows():
            rows = self.proxy.report()
            return rows if sum(r["segments"] for r in rows.values()) >= segments else None
        return until(rows, seconds, f"{segments} segments in the ledger")

    def close(self):
        # A worker that is told to stop says the same as one that is retired.
        workers = (StockTranscoder, StockAiWorker)
        self.retired = {n.name for n in self.nodes if isinstance(n, workers) and n.alive() and n.retired()}
        for node in reversed(self.nodes):
            node.stop()
        if self.proxy is not None:
            self.proxy.stop()
        for tap in self.taps:
            tap.close()
        for one in self.locals:
            one.close()

    def judge(self):
        """What must hold of every test: nobody retired or crashed, the books are whole."""
        for tap in self.taps:
            assert tap.faults == []
            assert REGISTER not in [path for path, _ in tap.resets], "we reset a registration: that retires its worker"
        for node in self.nodes:
            # A stock gateway panics in a request of its own once no orchestrator is left to try, with or without us.
            served = () if isinstance(node, StockGateway) else ("http: panic serving",)
            for sign in ("panic:", "goroutine 1 [", *served):
                assert sign not in node.log, f"{node.name} crashed"
        assert self.retired <= self.may_retire, "retired for good, though up"
        if self.proxy is not None:
            assert self.proxy.verify()["balanced"]
            assert "panicked" not in self.proxy.log


@pytest.fixture
def pool(livepeer, tmp_path, sources):
    version, binary = livepeer
    pool = Pool(binary, version, tmp_path, sources)
    try:
        yield pool
    finally:
        pool.close()
    pool.judge()
