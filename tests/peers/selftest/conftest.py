"""The peers against each other, in one event loop, without the proxy between them."""
import asyncio
import contextlib

import pytest

from orchestrator import Orchestrator
from transcoder import Transcoder


class Bench:
    """An orchestrator and transcoders that end with the test."""

    def __init__(self):
        self.events, self.running = [], []
        self.orchestrator = None

    async def start(self, **settings):
        self.orchestrator = Orchestrator(**settings)
        await self.orchestrator.start()
        return self.orchestrator

    def transcoder(self, name="t1", **settings):
        settings = {"backoff": 0.05, "seconds": 0.01, "secret": self.orchestrator.secret} | settings
        one = Transcoder(self.orchestrator.address, name=name, report=lambda **e: self.events.append(e), **settings)
        self.running.append(asyncio.ensure_future(one.run()))
        return one

    def of(self, event, who=None):
        return [e for e in self.events if e["event"] == event and who in (None, e["who"])]

    async def until(self, condition, seconds=10):
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)

    async def registered(self, count=1):
        await self.until(lambda: len(self.orchestrator.live()) >= count)

    async def close(self):
        for task in self.running:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self.orchestrator:
            await self.orchestrator.stop()


@pytest.fixture
def on_bench():
    """Runs `test(bench)` to its end, then clears up."""
    def run(test):
        async def whole():
            bench = Bench()
            try:
                await test(bench)
            finally:
                await bench.close()
        asyncio.run(whole())
    return run
