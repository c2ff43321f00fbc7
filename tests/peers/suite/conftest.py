"""A pool for a test: the built proxy between Python orchestrators and Python transcoder processes."""
import pytest

import harness
import orchestrator as stock
from harness import POOL_SECRET, OrchestratorThread, Proxy, Worker, address, until


def pytest_collection_modifyitems(items):
    if items and not harness.BINARY.exists():
        pytest.exit(f"no {harness.BINARY}: build it (cargo build), or name it by OPENPOOL_BIN", returncode=2)


class Pool:
    """What a test stands on. Stock rules that were broken on the way fail the test at its end."""

    def __init__(self, folder):
        self.folder = folder
        self.threads, self.workers = [], []
        self.proxy = None
        self.expect_retired = False

    def orchestrator(self, start=True, **settings):
        thread = OrchestratorThread(**settings)
        self.threads.append(thread)
        if start:
            thread.start()
        return thread.orchestrator

    def serve(self, **settings):
        if not self.threads:
            self.orchestrator()
        self.proxy = Proxy(self.folder, [t.orchestrator for t in self.threads], **settings).start()
        return self.proxy

    def worker(self, name, *flags, secret=None, n=None):
        """In shared mode with a payout address of its own, unless told otherwise."""
        secret = secret or f"{POOL_SECRET}:{address(n or len(self.workers) + 1)}"
        worker = Worker(self.folder, self.proxy.address, secret, name, *flags)
        self.workers.append(worker)
        return worker

    @property
    def orch(self):
        return self.threads[0].orchestrator

    def capacity(self, sessions, which=0):
        orchestrator = self.threads[which].orchestrator
        until(lambda: orchestrator.capacity() >= sessions, 20, f"a registered capacity of {sessions}")

    def call(self, coroutine, which=0, seconds=120):
        return self.threads[which].call(coroutine, seconds)

    def segment(self, session="s", source=0, which=0, **extra):
        orchestrator = self.threads[which].orchestrator
        return self.call(orchestrator.segment(session, orchestrator.sources[source], **extra), which)

    def drive(self, segments, sessions, which=0, name="session"):
        self.call(stock.drive(self.threads[which].orchestrator, segments, sessions, name), which)

    def whole(self, outcomes):
        """Each delivered, byte for byte and with the pixels that it has."""
        assert [o.error for o in outcomes if not o.ok] == []
        for o in outcomes:
            source = next(s for s in self.orch.sources if s.name == o.source)
            assert o.parts == list(source.renditions.values())
            assert o.pixels == [w * h * 60 for w, h in source.renditions]
            assert o.decoded == source.pixels

    def paid(self, segments, by="worker"):
        """The rows of the report, once so many segments are in it: it is written after the orchestrator's 200."""
        def rows():
            rows = self.proxy.report(by)
            return rows if sum(r["segments"] for r in rows.values()) >= segments else None
        rows = until(rows, 5, f"{segments} segments in the ledger")
        assert sum(r["segments"] for r in rows.values()) == segments
        return rows

    def close(self):
        for worker in self.workers:
            worker.stop()
        if self.proxy is not None:
            self.proxy.stop()
        for thread in self.threads:
            thread.close()

    def judge(self):
        for thread in self.threads:
            assert thread.orchestrator.refusals == [], "the orchestrator refused a registration"
            assert thread.orchestrator.registrations_lost == 0, "a task was left unanswered past its budget"
        for worker in self.workers:
            assert worker.events("crash") == [], "a stock worker would have crashed"
            assert self.expect_retired or worker.retired() == [], "a stock worker was retired"
        if self.proxy is not None:
            verified = self.proxy.verify()
            assert verified["balanced"], verified
            assert "panicked" not in self.proxy.log


@pytest.fixture
def pool(tmp_path):
    pool = Pool(tmp_path)
    try:
        yield pool
    finally:
        pool.close()
    pool.judge()
