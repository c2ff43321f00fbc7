"""Real processes for whole-process tests: the proxy, transcoders, and an orchestrator in a thread."""
import asyncio
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

from orchestrator import Orchestrator
from peer_http import make_certificate

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BINARY = pathlib.Path(os.environ.get("OPENPOOL_BIN", ROOT / "target" / "debug" / "openpool-proxy"))
POOL_SECRET = "pool-secret-of-the-tests"
PRICE = 1200
QUICK = ("--backoff", "0.05", "--longest-backoff", "0.3")


def address(n):
    """The n-th payout address of the tests."""
    return f"0x{n:040}"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def until(condition, seconds=15.0, what="it"):
    """Polls; the value of `condition` once it is true."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not happen within {seconds} s")
        time.sleep(0.02)
    return value


class OrchestratorThread:
    """An `Orchestrator` on an event loop of its own, to be called from tests."""

    def __init__(self, **settings):
        self.loop = asyncio.new_event_loop()
        self.orchestrator = Orchestrator(**settings)
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def begin(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def call(self, coroutine, seconds=120):
        return self.begin(coroutine).result(seconds)

    def start(self):
        self.call(self.orchestrator.start())
        return self.orchestrator

    def close(self):
        if self.orchestrator.server is not None:
            self.call(self.orchestrator.stop())
        self.call(self._cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)

    async def _cancel_all(self):
        """Segments whose budget still runs."""
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.wait(rest, timeout=2) if rest else None


class Proxy:
    """`openpool-proxy serve` on a configuration of its own; `more`: further lines of it."""

    def __init__(self, folder, orchestrators, join=("open", "shared"), settle="200 ms", self_signed=False, more=""):
        self.folder = pathlib.Path(folder)
        self.data = self.folder / "data"
        self.data.mkdir(parents=True, exist_ok=True)
        self.config = self.folder / "pool.yaml"
        self.port, self.admin = free_port(), free_port()
        self.process = None
        # OPENPOOL_... of the tests, or of whoever runs them, would be read as configuration.
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("OPENPOOL_")}
        self.env["POOL_SECRET"] = POOL_SECRET
        workers = [f'listen: "{self.address}", join: [{", ".join(join)}]']
        if "shared" in join:
            workers.append('shared_secret: "env:POOL_SECRET"')
        workers.append(f'public_address: "{self.address}"' if self_signed else self._certificate())
        lines = []
        for n, orchestrator in enumerate(orchestrators):
            self.env[f"ORCH_SECRET_{n}"] = orchestrator.secret
            lines.append(f'  - {{url: "https://{orchestrator.address}", secret: "env:ORCH_SECRET_{n}"}}')
        self.config.write_text(f"""\
pool: {{name: Test, commission: 25 %, price: {PRICE}, data: "{self.data}"}}
orchestrators:
{chr(10).join(lines)}
workers: {{{", ".join(workers)}}}
uplink: {{reregister_every: 1 s, settle: {settle}}}
admin: {{listen: "127.0.0.1:{self.admin}"}}
{more}""")

    def _certificate(self):
        """One that is good for 127.0.0.1: then a grpcio worker's :authority is, as in stock, what it dialled."""
        for name, pem in zip(("key", "certificate"), make_certificate("127.0.0.1")):
            path = self.folder / f"{name}.pem"
            path.touch(0o600)
            path.write_bytes(pem)
        return f'certificate: "{self.folder}/certificate.pem", key: "{self.folder}/key.pem"'

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def ledger(self):
        return self.data / "ledger.db"

    @property
    def log(self):
        path = self.folder / "proxy.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self):
        with open(self.folder / "proxy.log", "ab") as log:
            command = [BINARY, "serve", "--config", self.config]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=self.env)
        until(self.ready, 15, "/readyz 200")
        return self

    def ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"serve ended with {self.process.returncode}:\n{self.log[-3000:]}")
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            return False

    def get(self, path):
        """(status, text) from the operator port."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()

    def stop(self, number=signal.SIGTERM, seconds=20):
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(seconds)
        self.process = None
        return code

    def run(self, *args):
        """A command of the same binary: its standard output. It must succeed."""
        command = [BINARY, *args, "--config", self.config]
        done = subprocess.run(command, capture_output=True, text=True, env=self.env, timeout=30)
        assert done.returncode == 0, f"{args}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def report(self, by="worker"):
        """Rows of `ledger report` by their key."""
        rows = json.loads(self.run("ledger", "report", "--by", by, "-o", "json"))
        return {row[by]: row for row in rows}

    def verify(self):
        return json.loads(self.run("ledger", "verify", "-o", "json"))

    def invite(self, name, payout):
        """The token in the stock command line that `worker invite` prints."""
        text = self.run("worker", "invite", "--name", name, "--address", payout)
        found = re.search(r"-orchSecret[ =]['\"]?([^\s'\"]+)", text)
        assert found, f"no -orchSecret in: {text}"
        return found[1]


class Worker:
    """A transcoder.py process and what it logged."""

    def __init__(self, folder, proxy_address, secret, name="t", *flags):
        self.name = name
        self.file = pathlib.Path(folder) / f"{name}.jsonl"
        self.errors = pathlib.Path(folder) / f"{name}.err"
        command = [sys.executable, HERE / "transcoder.py", "--orch-addr", proxy_address, "--secret", secret]
        command += ["--name", name, *QUICK, *flags]
        with open(self.file, "wb") as out, open(self.errors, "wb") as err:
            self.process = subprocess.Popen(command, stdout=out, stderr=err)

    def events(self, kind=None):
        # The last line may be half written.
        lines = self.file.read_text().split("\n")[:-1]
        events = [json.loads(line) for line in lines if line.startswith("{")]
        return [e for e in events if kind in (None, e["event"])]

    def retired(self):
        return self.events("retired")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait(5)
