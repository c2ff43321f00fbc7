"""A simulated go-livepeer orchestrator with the stock rules, as a class and as a program."""
import argparse
import asyncio
import dataclasses
import json
import re
import sys
import time

import peer_media
import peer_multipart
import peer_proto as proto
from peer_http import Broken, Server

SECRET_HEADER = "Livepeer-Transcoder-1.0"
INT64 = re.compile(r"[+-]?[0-9]+\Z")
# What a gateway asks for with H264 in MPEG-TS over an auth token.
JOB_BITS = (0, 1, 4, 12)
FILES_KEPT = 12
WAITING = 4
UNKNOWN_CODE = "2"


class Refused(Exception):
    """The orchestrator itself turns the segment down; nobody was asked."""


@dataclasses.dataclass
class Outcome:
    """What became of one segment."""

    session: str
    seq: int
    source: str
    task: int = -1
    registration: int = -1
    error: str | None = None
    parts: list = dataclasses.field(default_factory=list)
    pixels: list = dataclasses.field(default_factory=list)
    decoded: int = 0
    seconds: float = 0.0

    @property
    def ok(self):
        return self.error is None


class Registration:
    def __init__(self, number, exchange, request):
        self.number, self.exchange, self.peer = number, exchange, exchange.peer
        self.capacity = request.capacity
        self.capabilities = request.capabilities
        self.bits = list(request.capabilities.bitstring)
        self.version = request.capabilities.version
        self.ethereum_address = bytes(request.ethereum_address)
        self.load, self.live, self.headers_sent = 0, True, False
        self.ended = asyncio.Event()
        self.sending = asyncio.Lock()
        self.tasks = 0

    async def send(self, message):
        """False when the stream is gone. The response headers go with the first message."""
        async with self.sending:
            try:
                if not self.headers_sent:
                    self.exchange.send_headers(GRPC_HEADERS)
                    self.headers_sent = True
                await self.exchange.send_data(b"\0" + len(message).to_bytes(4, "big") + message)
                return True
            except Broken:
                return False


GRPC_HEADERS = [(":status", "200"), ("content-type", "application/grpc")]


class Orchestrator:
    """One TLS port, like stock: gRPC RegisterTranscoder, segment files, /transcodeResults."""

    def __init__(self, secret="orch-secret", host="127.0.0.1", port=0, least_budget=8.0, orch_id="offchain"):
        self.secret, self.host, self.port, self.orch_id = secret, host, port, orch_id
        self.least_budget = least_budget
        self.server = None
        self.sources = peer_media.load()
        # What happened, for tests.
        self.outcomes, self.refusals, self.posts, self.registered = [], [], [], []
        self.registrations_lost = 0
        self._forget()

    def _forget(self):
        """What a restart of the process forgets."""
        self.task_counter = 0
        self.registrations, self.ties, self.waiting = [], {}, {}
        self.locks, self.files, self.running = {}, {}, {}
        self.sequence = {}

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    async def start(self):
        self.server = Server(self._handle, self.host, self.port)
        await self.server.start()
        self.port = self.server.port

    async def stop(self):
        await self.server.stop()

    async def restart(self, pause=0.0):
        """As a killed and started process: a new certificate, TaskIds from 0 again."""
        await self.stop()
        self._forget()
        await asyncio.sleep(pause)
        await self.start()

    def live(self):
        return [r for r in self.registrations if r.live]

    def capacity(self):
        return sum(r.capacity for r in self.live())

    # === segments ===

    async def segment(self, session, source, sizes=peer_media.SIZES, duration_ms=2000, **extra):
        """One segment from arrival to outcome. Segments of a session run one after another."""
        if self.waiting.get(session, 0) > WAITING:
            raise Refused("OrchestratorBusy")
        self.waiting[session] = self.waiting.get(session, 0) + 1
        try:
            async with self.locks.setdefault(session, asyncio.Lock()):
                return await self._transcode(session, source, sizes, duration_ms, **extra)
        finally:
            self.waiting[session] -= 1

    async def _transcode(self, session, source, sizes, duration_ms, min_version="", bits=JOB_BITS, phash=False):
        seq = self.sequence.get(session, 0)
        self.sequence[session] = seq + 1
        path = self._keep(session, seq, source.data)
        outcome = Outcome(session, seq, source.name)
        started = time.monotonic()
        notify = self._notify(session, seq, sizes, duration_ms, min_version, bits, phash)
        notify.url = f"https://{self.address}{path}"
        while True:
            registration = self._select(session, notify.segData.capabilities)
            if isinstance(registration, str):
                outcome.error = registration
                break
            # A send that fails ends that registration, and the segment goes to another.
            if await self._ask(registration, notify, outcome, max(self.least_budget, 4 * duration_ms / 1000)):
                break
        if outcome.ok:
            self._judge(outcome, len(sizes))
        outcome.seconds = time.monotonic() - started
        self.outcomes.append(outcome)
        return outcome

    def _keep(self, session, seq, data):
        path = f"/stream/{session}/{seq}.tempfile"
        self.files[path] = data
        self.files.pop(f"/stream/{session}/{seq - FILES_KEPT}.tempfile", None)
        return path

    def _notify(self, session, seq, sizes, duration_ms, min_version, bits, phash):
        notify = proto.NotifySegment(profiles=b"invalid", orchId=self.orch_id)
        data = notify.segData
        data.manifestId = session.encode()
        data.seq, data.hash, data.profiles, data.duration = seq, bytes(32), b"invalid", duration_ms
        data.capabilities.bitstring.extend(proto.bitstring(bits))
        data.capabilities.version = "0.8.8"
        data.capabilities.constraints.minVersion = min_version
        data.auth_token.token, data.auth_token.session_id = b"token of " + session.encode(), session
        data.auth_token.expiration = int(time.time()) + 3600
        data.calc_perceptual_hash = phash
        for width, height in sizes:
            data.fullProfiles.add(name=f"{height}p", width=width, height=height, bitrate=250_000, fps=0)
        return notify

    def _select(self, session, wanted):
        """The tied one, else the least loaded that fits; when that one is full it looks no further."""
        tied = self.ties.get(session)
        if tied is not None and tied.live:
            return tied
        self.ties.pop(session, None)
        fitting = [
            r for r in self.live()
            if proto.fits(list(wanted.bitstring), r.bits)
            and proto.version_fits(wanted.constraints.minVersion, r.version)
        ]
        if not fitting:
            return "no transcoders available" if not self.live() else "no compatible transcoders available"
        best = min(fitting, key=lambda r: r.load / r.capacity)
        if best.load >= best.capacity:
            return "no transcoders available"
        best.load += 1
        self.ties[session] = best
        return best

    async def _ask(self, registration, notify, outcome, budget):
        """False when the stream could not be written and another must be asked."""
        task = self.task_counter
        self.task_counter += 1
        notify.taskId = task
        outcome.task, outcome.registration = task, registration.number
        result = asyncio.get_running_loop().create_future()
        self.running[task] = result
        message = proto.with_unknown(notify, b"outer %d" % task, b"inner %d" % task)
        registration.tasks += 1
        try:
            if not await registration.send(message):
                self._drop(registration)
                self.ties.pop(outcome.session, None)
                return False
            answer = await asyncio.wait_for(result, budget)
        except asyncio.TimeoutError:
            # Fatal for the whole registration; the segment is not tried again.
            outcome.error = "Remote transcoder took too long"
            # One that is gone already cannot be lost by this.
            self.registrations_lost += registration.live
            self.ties.pop(outcome.session, None)
            self._drop(registration)
            return True
        finally:
            self.running.pop(task, None)
        outcome.error, outcome.parts, outcome.pixels, outcome.decoded = answer
        if outcome.error is not None:
            # The tie ends without a teardown message.
            self._untie(outcome.session)
        return True

    def _judge(self, outcome, wanted):
        if len(outcome.parts) != wanted:
            outcome.error = "MismatchedSegments"
        elif any(len(part) < 25 for part in outcome.parts):
            outcome.error = "ZeroSegments"

    def _untie(self, session):
        registration = self.ties.pop(session, None)
        if registration is not None and registration.live:
            registration.load -= 1
        return registration

    async def end_session(self, session):
        """The gateway ended it, or 70 s passed."""
        registration = self._untie(session)
        if registration is not None and registration.live:
            teardown = proto.NotifySegment()
            teardown.segData.auth_token.session_id = session
            await registration.send(teardown.SerializeToString())

    def _drop(self, registration):
        registration.live = False
        registration.ended.set()

    # === the port ===

    async def _handle(self, exchange):
        grpc = exchange.headers.get("content-type", "").startswith("application/grpc")
        path = exchange.path.split("?")[0]
        if exchange.version == 2 and grpc:
            await self._grpc(exchange)
        elif path == "/transcodeResults":
            await self._result(exchange)
        elif path in self.files and exchange.method in ("GET", "HEAD"):
            await exchange.answer(200, self.files[path], "application/octet-stream")
        else:
            await exchange.answer(404, b"404 page not found\n")

    async def _grpc(self, exchange):
        if exchange.path != proto.REGISTER:
            trailers_only = [*GRPC_HEADERS, ("grpc-status", "12"), ("grpc-message", f"unknown {exchange.path}")]
            return exchange.send_headers(trailers_only, end=True)
        body = await exchange.body()
        request = proto.RegisterRequest.FromString(body[5:])
        refusal = None
        if request.secret != self.secret:
            refusal = "invalid secret"
        elif request.capacity <= 0:
            refusal = "zero capacity"
        if refusal:
            self.refusals.append(refusal)
            # Headers first, then trailers: not trailers only.
            exchange.send_headers(GRPC_HEADERS)
            return exchange.send_headers([("grpc-status", UNKNOWN_CODE), ("grpc-message", refusal)], end=True)
        await self._serve(Registration(len(self.registered), exchange, request))

    async def _serve(self, registration):
        self.registered.append(registration)
        self.registrations.append(registration)
        gone = asyncio.ensure_future(registration.exchange.gone.wait())
        ended = asyncio.ensure_future(registration.ended.wait())
        try:
            await asyncio.wait([gone, ended], return_when=asyncio.FIRST_COMPLETED)
            registration.live = False
            if not registration.exchange.gone.is_set():
                async with registration.sending:
                    if not registration.headers_sent:
                        registration.exchange.send_headers(GRPC_HEADERS)
                    registration.exchange.send_headers([("grpc-status", "0"), ("grpc-message", "")], end=True)
        finally:
            gone.cancel()
            ended.cancel()
            registration.live = False
            if registration in self.registrations:
                self.registrations.remove(registration)

    async def _result(self, exchange):
        post = {"task": exchange.headers.get("taskid"), "version": exchange.version, "peer": exchange.peer}
        post["kind"] = exchange.headers.get("content-type", "").split(";")[0]
        self.posts.append(post)
        status, text = await self._take(exchange)
        post["status"] = status
        await exchange.answer(status, text.encode() + (b"\n" if status != 200 else b""))

    async def _take(self, exchange):
        """The stock checks, in the stock order."""
        head = exchange.headers
        if head.get("authorization") != SECRET_HEADER or head.get("credentials") != self.secret:
            return 401, "Unauthorized"
        kind, boundary = peer_multipart.media_type(head.get("content-type", ""))
        if kind is None:
            return 415, "mime: no media type"
        if not INT64.match(head.get("taskid", "")) or not -(1 << 63) <= int(head["taskid"]) < 1 << 63:
            return 400, "Invalid Task ID"
        task = int(head["taskid"])
        if kind == "livepeer/transcoding-error":
            try:
                text = (await exchange.body()).decode("utf-8", "replace")
            except Broken as e:
                text = str(e)
            self._deliver(task, (text, [], [], 0))
            return 200, "OK"
        if not INT64.match(head.get("pixels", "")):
            return 400, "Invalid Pixels"
        if kind != "multipart/mixed":
            # Thrown away: the task then times out.
            return 200, "OK"
        try:
            parts, pixels = peer_multipart.read(await exchange.body(), boundary)
        except (peer_multipart.Malformed, Broken) as e:
            self._deliver(task, (str(e), [], [], 0))
            return 500, str(e)
        self._deliver(task, (None, parts, pixels, int(head["pixels"])))
        return 200, "OK"

    def _deliver(self, task, answer):
        result = self.running.get(task)
        if result is not None and not result.done():
            result.set_result(answer)


async def drive(orchestrator, segments, sessions, name="session"):
    """`segments` segments over `sessions` sessions at once, then their ends."""
    async def one(n):
        session = f"{name}-{n}"
        for i in range(n, segments, sessions):
            await orchestrator.segment(session, orchestrator.sources[i % len(orchestrator.sources)])
        await orchestrator.end_session(session)
    await asyncio.gather(*(one(n) for n in range(sessions)))


def summary(orchestrator):
    good = [o for o in orchestrator.outcomes if o.ok]
    return {
        "segments_sent": len(orchestrator.outcomes),
        "segments_delivered": len(good),
        "errors": [o.error for o in orchestrator.outcomes if not o.ok],
        "registrations": len(orchestrator.registered),
        "registrations_lost": orchestrator.registrations_lost,
        "pixels": sum(sum(o.pixels) for o in good),
    }


async def main():
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--port", type=int, default=8935)
    parse.add_argument("--secret", default="orch-secret")
    parse.add_argument("--segments", type=int, default=40)
    parse.add_argument("--sessions", type=int, default=4)
    parse.add_argument("--wait-capacity", type=int, default=1, help="begin when so much is registered")
    args = parse.parse_args()
    orchestrator = Orchestrator(args.secret, port=args.port)
    await orchestrator.start()
    print(f"listening on https://{orchestrator.address}", file=sys.stderr)
    while orchestrator.capacity() < args.wait_capacity:
        await asyncio.sleep(0.05)
    await drive(orchestrator, args.segments, args.sessions)
    report = summary(orchestrator)
    print(json.dumps(report))
    await orchestrator.stop()
    return 0 if report["segments_delivered"] == args.segments else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
