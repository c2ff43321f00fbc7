"""Real `livepeer` processes on loopback: orchestrator, transcoder, gateway, each with its log."""
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import urllib.error
import urllib.request

import parts
from harness import free_port, until

SECRET = "orchestrator-secret-of-the-tests"
# What a stock worker prints where its loop ends for good; its process stays up.
RETIRED = "Terminating transcoder because of"


def version_of(binary):
    """What `livepeer -version` says."""
    done = subprocess.run([binary, "-version"], capture_output=True, text=True, timeout=60)
    found = re.search(r"Livepeer Node Version: (\S+)", done.stdout)
    if found is None:
        raise SystemExit(f"{binary} -version names no version:\n{done.stdout}{done.stderr}")
    return found[1]


def fetch(url, data=None, headers=None, seconds=20):
    """(status, headers, body); status 0 where nobody answers."""
    request = urllib.request.Request(url, data=data, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as e:
        return e.code, e.headers, e.read()
    except OSError as e:
        return 0, {}, str(e).encode()


class Node:
    """One `livepeer` process; what it prints goes to a file that outlives restarts."""

    def __init__(self, binary, folder, name, *flags, cli=None):
        self.name = name
        self.cli = cli or free_port()
        self.folder = pathlib.Path(folder) / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = self.folder / "log"
        self.process = None
        self.command = [binary, "-network", "offchain", "-dataDir", self.folder, "-v", "6"]
        self.command += ["-cliAddr", f"127.0.0.1:{self.cli}", *flags]
        # A log of the last life is no sign of this one.
        self.mark = 0
        # What it finds in its environment beside ours.
        self.env = {}

    def start(self):
        self.mark = self.file.stat().st_size if self.file.exists() else 0
        env = {k: v for k, v in os.environ.items() if not k.startswith("LP_")} | self.env
        with open(self.file, "ab") as log:
            # A group of its own: what it starts to transcode with dies and stops with it.
            self.process = subprocess.Popen(
                [str(word) for word in self.command], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env, start_new_session=True
            )
        return self

    @property
    def log(self):
        return self.file.read_text(errors="replace") if self.file.exists() else ""

    @property
    def log_of_this_life(self):
        with open(self.file, "rb") as log:
            log.seek(self.mark)
            return log.read().decode(errors="replace")

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self):
        if self.process is None:
            return
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            self.kill()

    def status(self):
        code, _, body = fetch(f"http://127.0.0.1:{self.cli}/status", seconds=5)
        return json.loads(body) if code == 200 else None

    def metric(self, name):
        """The sum of a metric over its labels; 0 where it was never counted."""
        _, _, body = fetch(f"http://127.0.0.1:{self.cli}/metrics", seconds=5)
        rows = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", body.decode(), re.M)
        return sum(float(value) for value in rows)


class StockOrchestrator(Node):
    """`-orchestrator`: it works through those who register."""

    def __init__(self, binary, folder, name="orchestrator", sessions=100, secret=SECRET):
        self.port, self.secret = free_port(), secret
        # -serviceAddr is also what it listens on.
        flags = ["-orchestrator", "-orchSecret", secret, "-serviceAddr", self.address, "-maxSessions", sessions, "-monitor"]
        super().__init__(binary, folder, name, *flags)

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        super().start()
        until(lambda: "Listening for RPC" in self.log_of_this_life and self.status(), 30, f"{self.name} listening")
        return self

    def registered(self):
        """[(address, capacity)] of its RegisteredTranscoders."""
        status = self.status()
        return [(t["Address"], t["Capacity"]) for t in (status or {}).get("RegisteredTranscoders") or []]

    def capacity(self):
        return sum(capacity for _, capacity in self.registered())

    def closed_streams(self):
        """How many registrations it has seen end."""
        return self.log.count("eof, removing from live transcoders map")

    def timed_out(self):
        return self.log.count("Remote transcoder took too long")

    def pixels(self):
        """What it counted for payment, in pixels."""
        return round(self.metric("livepeer_mil_pixels_processed") * 1_000_000)


class StockTranscoder(Node):
    """`-transcoder`: software, whatever the machine has."""

    def __init__(self, binary, folder, name, dial, secret, sessions=10):
        flags = ["-transcoder", "-orchAddr", dial, "-orchSecret", secret, "-maxSessions", sessions]
        super().__init__(binary, folder, name, *flags)

    def retired(self):
        return RETIRED in self.log_of_this_life

    def tasks(self):
        """[(taskId, url)] that it was given."""
        return re.findall(r"Transcoding taskId=(\d+) url=(\S+)", self.log)

    def registrations(self):
        return self.log_of_this_life.count("Registering transcoder to")


@dataclasses.dataclass
class Answer:
    """What the gateway gave back for one segment."""

    stream: str
    seq: int
    source: str
    status: int
    error: str
    # Rendition name -> bytes.
    renditions: dict

    @property
    def ok(self):
        return self.status == 200 and bool(self.renditions)


def renditions_of(content_type, body):
    """The parts of a multipart answer by the gateway's name for each."""
    boundary = content_type.partition("boundary=")[2]
    return {head["rendition-name"]: data for head, data in parts.split(body, boundary)}


class StockGateway(Node):
    """`-gateway`, fed by HTTP push."""

    def __init__(self, binary, folder, orchestrators, name="gateway", profiles="P144p30fps16x9", more=()):
        self.http, rtmp = free_port(), free_port()
        addresses = ",".join(o.address for o in orchestrators)
        flags = ["-gateway", "-orchAddr", addresses, "-httpAddr", f"127.0.0.1:{self.http}", "-rtmpAddr", f"127.0.0.1:{rtmp}"]
        super().__init__(binary, folder, name, *flags, "-transcodingOptions", profiles, "-maxSessions", 100, "-monitor", *more)

    def start(self):
        super().start()
        until(lambda: fetch(f"http://127.0.0.1:{self.http}/healthz", seconds=2)[0] and self.status(), 30, f"{self.name} listening")
        return self

    def push(self, stream, seq, source, wishes=None, headers=None, seconds=60):
        """One segment as an encoder pushes it; `wishes`: the stream's own, as an application tells them."""
        headers = {"Accept": "multipart/mixed", "Content-Duration": str(source.milliseconds), **(headers or {})}
        headers["Content-Resolution"] = source.resolution
        if wishes is not None:
            headers["Livepeer-Transcode-Configuration"] = json.dumps({"manifestID": stream, **wishes})
        url = f"http://127.0.0.1:{self.http}/live/{stream}/{seq}{source.path.suffix}"
        status, got, body = fetch(url, source.data, headers, seconds)
        multipart = status == 200 and got.get("Content-Type", "").startswith("multipart/mixed")
        renditions = renditions_of(got["Content-Type"], body) if multipart else {}
        error = "" if renditions else body.decode(errors="replace").strip() or f"HTTP {status}"
        return Answer(stream, seq, source.path.name, status, error, renditions)
