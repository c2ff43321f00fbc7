"""A transcoder with go-livepeer's stock rules, on grpcio and httpx, as a class and as a program."""
import argparse
import asyncio
import concurrent.futures
import gzip
import hashlib
import http.client
import json
import os
import random
import signal
import ssl
import sys
import time
import urllib.parse

import grpc
import grpc.aio
import httpx
from cryptography import x509

import peer_media
import peer_multipart
import peer_proto as proto

RETIRED = 3
DIED = 9
CRASHED = 2
FETCH_SECONDS = 4.0
LARGEST = 300_000_000
# Software: the defaults, MPEG7, the decoders, slicing, and the AI bits that sit among its options.
SOFTWARE = (*range(13), 14, 17, *range(21, 26), 26, *range(27, 33), 34, 36)
MODES = ("ok", "fail", "hang", "stall", "cheat", "echo", "die", "late")
FATAL = ("invalid secret", "zero capacity")
ENDLESS = 86_400


def emit(**event):
    """One JSON line on stdout."""
    event["at"] = round(time.time(), 3)
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


class TaskFailed(Exception):
    """Becomes an error result with this text."""


def any_certificate(alpn=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


async def certificate_of(host, port):
    """grpcio cannot skip verification: take the server's certificate first, and trust just that one.

    (PEM, a name that it is good for, or None when that is `host`)
    """
    opening = asyncio.open_connection(host, port, ssl=any_certificate(["h2"]))
    reader, writer = await asyncio.wait_for(opening, 10)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    certificate = x509.load_der_x509_certificate(der)
    name = None
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        ips = [str(ip) for ip in names.get_values_for_type(x509.IPAddress)]
        dns = names.get_values_for_type(x509.DNSName)
        if host not in ips + dns:
            name = (dns + ips)[0]
    except (x509.ExtensionNotFound, IndexError):
        common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        name = common[0].value if common else host
    return ssl.DER_cert_to_PEM_cert(der).encode(), name


class Backoff:
    """Exponential, x1.5 up to 60 s, each wait 50 to 150 % of it; never reset, as in stock."""

    def __init__(self, base, longest, dice):
        self.wait, self.longest, self.dice = base, longest, dice

    def next(self):
        wait = self.wait * self.dice.uniform(0.5, 1.5)
        self.wait = min(self.wait * 1.5, self.longest)
        return wait


class Downloads:
    """HTTP/1.1 without ALPN, connections kept, everything within 4 s."""

    def __init__(self):
        self.idle = {}
        self.pool = concurrent.futures.ThreadPoolExecutor(64)

    async def get(self, url):
        loop = asyncio.get_running_loop()
        try:
            return await asyncio.wait_for(loop.run_in_executor(self.pool, self._get, url), FETCH_SECONDS)
        except asyncio.TimeoutError:
            raise TaskFailed("context deadline exceeded") from None
        except (OSError, http.client.HTTPException) as e:
            raise TaskFailed(f"Get {url}: {e}") from None

    def _get(self, url):
        for _ in range(10):
            status, reason, headers, body = self._once(url)
            if status in (301, 302, 303, 307, 308) and headers.get("Location"):
                url = urllib.parse.urljoin(url, headers["Location"])
                continue
            if status != 200:
                raise TaskFailed(f"{status} {reason}")
            return gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body
        raise TaskFailed("stopped after 10 redirects")

    def _once(self, url):
        parts = urllib.parse.urlsplit(url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        head = {"Accept-Encoding": "gzip", "User-Agent": "Go-http-client/1.1"}
        idle = self.idle.setdefault(parts.netloc, [])
        while True:
            kept = bool(idle)
            link = idle.pop() if kept else http.client.HTTPSConnection(
                parts.hostname, parts.port or 443, timeout=FETCH_SECONDS, context=any_certificate()
            )
            try:
                link.request("GET", target, headers=head)
                answer = link.getresponse()
                body = answer.read(LARGEST + 1)
            except (OSError, http.client.HTTPException):
                link.close()
                if kept:
                    # Closed while idle: once more over a new one.
                    continue
                raise
            if not answer.will_close:
                idle.append(link)
            return answer.status, answer.reason, answer.headers, body


class Transcoder:
    """Registers, transcodes by looking up prepared renditions, posts; `run` ends when it is retired."""

    def __init__(self, address, secret, name="t1", capacity=10, mode="ok", seconds=0.05, bad=0, version="0.8.8",
                 bits=SOFTWARE, backoff=0.5, longest_backoff=60.0, late=9.0, fail_text="Decoder not found",
                 ethereum_address=b"", report=emit, seed=None):
        self.address, self.secret, self.name, self.capacity = address, secret, name, capacity
        self.mode, self.seconds, self.bad, self.late, self.fail_text = mode, seconds, bad, late, fail_text
        self.version, self.bits, self.ethereum_address = version, bits, ethereum_address
        self.backoff = Backoff(backoff, longest_backoff, random.Random(seed))
        self.media = peer_media.by_hash(peer_media.load())
        self.downloads = Downloads()
        self.report = report
        self.tasks = 0
        self.retired = None
        self.jobs = set()

    def say(self, event, **more):
        self.report(who=self.name, event=event, **more)

    def request(self):
        request = proto.RegisterRequest(secret=self.secret, capacity=self.capacity)
        request.ethereum_address = self.ethereum_address
        if self.bits is not None:
            request.capabilities.bitstring.extend(proto.bitstring(self.bits))
            for bit in self.bits:
                request.capabilities.capacities[bit] = 1
            request.capabilities.version = self.version
            request.capabilities.constraints.SetInParent()
        return request

    async def run(self):
        """Until retired: the reason."""
        while True:
            code, message = await self.register_once()
            self.say("disconnected", code=code, message=message)
            if message in FATAL or code == "CANCELLED":
                self.retired = message if message in FATAL else "Execution interrupted"
                self.say("retired", why=self.retired)
                return self.retired
            await asyncio.sleep(self.backoff.next())

    async def register_once(self):
        """One registration from dial to end: (code, message). Running jobs finish before it returns."""
        host, _, port = self.address.rpartition(":")
        try:
            root, name = await certificate_of(host, int(port))
        except (OSError, asyncio.TimeoutError) as e:
            return "UNAVAILABLE", f"dial: {e!r}"
        # A connection of its own, and no retries below us.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        if name is not None:
            # This also makes :authority that name, where stock says what it dialled.
            options.append(("grpc.ssl_target_name_override", name))
        trust = grpc.ssl_channel_credentials(root_certificates=root)
        channel = grpc.aio.secure_channel(self.address, trust, options=options)
        # The result client of stock: bare HTTP/2, no time limits, no idle close.
        results = httpx.AsyncClient(
            http1=False, http2=True, verify=any_certificate(), timeout=None, trust_env=False,
            limits=httpx.Limits(max_connections=None, keepalive_expiry=None),
        )
        self.say("dialled")
        try:
            register = channel.unary_stream(
                proto.REGISTER,
                request_serializer=proto.RegisterRequest.SerializeToString,
                response_deserializer=proto.NotifySegment.FromString,
            )
            call = register(self.request())
            headers = asyncio.ensure_future(self._headers(call))
            try:
                async for notify in call:
                    self._begin(notify, results)
                code, message = await call.code(), await call.details()
            except grpc.aio.AioRpcError as e:
                code, message = e.code(), e.details()
            finally:
                headers.cancel()
            if self.jobs:
                await asyncio.wait(self.jobs)
            return code.name, message or ""
        finally:
            await results.aclose()
            await channel.close()

    async def _headers(self, call):
        await call.initial_metadata()
        if not call.done():
            self.say("registered")

    def _begin(self, notify, results):
        session = notify.segData.auth_token.session_id
        if not notify.url and session:
            return self.say("teardown", session=session)
        if notify.HasField("segData") and not notify.segData.HasField("auth_token"):
            # A GPU worker's session table is keyed by it: nil dereference.
            self.say("crash", why="segData without auth_token")
            os._exit(CRASHED)
        job = asyncio.ensure_future(self._job(notify, results))
        self.jobs.add(job)
        job.add_done_callback(self.jobs.discard)

    # === a task ===

    async def _job(self, notify, results):
        self.tasks += 1
        mode = self.mode if not self.bad or self.tasks <= self.bad else "ok"
        data = notify.segData
        self.say(
            "task", task=notify.taskId, session=data.auth_token.session_id, seq=data.seq, url=notify.url, mode=mode,
            manifest=data.manifestId.decode("utf-8", "replace"), orch=notify.orchId,
            token=data.auth_token.token.decode("utf-8", "replace"),
            unknown=proto.unknown_fields(notify), seg_unknown=proto.unknown_fields(data),
        )
        try:
            decoded, parts = await self._transcode(notify, mode)
        except TaskFailed as e:
            return await self._post(results, notify, "0", "livepeer/transcoding-error", str(e).encode())
        hashes = [hashlib.sha256(p[2]).digest() for p in parts] if data.calc_perceptual_hash else None
        kind, body = peer_multipart.write(parts, hashes)
        digests = [peer_media.digest(p[2]) for p in parts]
        await self._post(results, notify, str(decoded), kind, body, mode, digests)

    async def _transcode(self, notify, mode):
        """(decoded pixels, [(mime, pixels, data)])."""
        data = notify.segData
        if not notify.HasField("segData"):
            raise TaskFailed("empty seg data")
        if not proto.fits(list(data.capabilities.bitstring), proto.bitstring(self.bits or SOFTWARE)):
            raise TaskFailed("incompatible segment capabilities")
        if not proto.version_fits(data.capabilities.constraints.minVersion, self.version):
            raise TaskFailed("incompatible segment capabilities")
        source = await self.downloads.get(notify.url)
        if mode == "die":
            self.say("die", task=notify.taskId)
            os._exit(DIED)
        if mode == "hang":
            await asyncio.sleep(ENDLESS)
        await asyncio.sleep(self.late if mode == "late" else self.seconds)
        if mode == "fail":
            raise TaskFailed(self.fail_text)
        known = self.media.get(hashlib.sha256(source).digest())
        if known is None:
            raise TaskFailed("No keyframes in input")
        profiles = next((list(p) for p in (data.fullProfiles3, data.fullProfiles2, data.fullProfiles) if p), [])
        parts = []
        for profile in profiles:
            rendition = known.renditions.get((profile.width, profile.height))
            if rendition is None:
                raise TaskFailed(f"no prepared rendition of {profile.width}x{profile.height}")
            pixels = peer_media.pixels(profile.width, profile.height) * (3 if mode == "cheat" else 1)
            mime = "video/mp4" if profile.format == 1 else "video/mp2t"
            parts.append((mime, pixels, source if mode == "echo" else rendition))
        return known.pixels, parts

    async def _post(self, results, notify, pixels, kind, body, mode="ok", digests=()):
        headers = {
            "Authorization": "Livepeer-Transcoder-1.0", "Credentials": self.secret, "Content-Type": kind,
            "TaskId": str(notify.taskId), "Pixels": pixels, "Content-Length": str(len(body)),
            "User-Agent": "Go-http-client/2.0",
        }

        async def stalling():
            yield body[: len(body) // 2]
            self.say("stall", task=notify.taskId)
            await asyncio.sleep(ENDLESS)

        content = stalling() if mode == "stall" else body
        of = {"task": notify.taskId, "session": notify.segData.auth_token.session_id, "seq": notify.segData.seq}
        of |= {"mode": mode, "digests": list(digests)}
        # Said before: a kill may come between sending and being answered.
        self.say("posting", **of, error=body.decode("utf-8", "replace") if "error" in kind else None)
        try:
            answer = await results.post(f"https://{self.address}/transcodeResults", headers=headers, content=content)
            self.say("posted", **of, status=answer.status_code, body=answer.text[:500])
        except (httpx.HTTPError, OSError, ssl.SSLError) as e:
            # Logged and forgotten: a result is posted once.
            self.say("post_failed", **of, why=repr(e))


async def main():
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--orch-addr", default="127.0.0.1:8935")
    parse.add_argument("--secret", default="orch-secret", help="{n} becomes the number of the transcoder, two digits")
    parse.add_argument("--name", default="t")
    parse.add_argument("--count", type=int, default=1, help="so many in this process")
    parse.add_argument("--capacity", type=int, default=10)
    parse.add_argument("--mode", choices=MODES, default="ok")
    parse.add_argument("--bad", type=int, default=0, help="only the first so many tasks go by --mode; 0 is all")
    parse.add_argument("--seconds", type=float, default=0.05, help="what a transcoding takes")
    parse.add_argument("--late", type=float, default=9.0, help="what it takes in mode late")
    parse.add_argument("--fail-text", default="Decoder not found")
    parse.add_argument("--version", default="0.8.8")
    parse.add_argument("--eth-address", default="", help="hex, field 4 of the Open Pool fork")
    parse.add_argument("--backoff", type=float, default=0.5, help="first wait before reconnecting")
    parse.add_argument("--longest-backoff", type=float, default=60.0)
    parse.add_argument("--seed", type=int, default=None)
    args = parse.parse_args()
    wanted = {
        "capacity": args.capacity, "mode": args.mode, "bad": args.bad, "late": args.late,
        "seconds": args.seconds, "fail_text": args.fail_text, "version": args.version,
        "backoff": args.backoff, "longest_backoff": args.longest_backoff,
        "ethereum_address": bytes.fromhex(args.eth_address.removeprefix("0x")),
    }
    transcoders = [
        Transcoder(args.orch_addr, args.secret.replace("{n}", f"{n + 1:02}"),
                   name=f"{args.name}{n + 1:02}" if args.count > 1 else args.name,
                   seed=None if args.seed is None else args.seed + n, **wanted)
        for n in range(args.count)
    ]
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, os._exit, 0)
    why = await asyncio.gather(*(t.run() for t in transcoders))
    print(f"RETIRED {'; '.join(why)}", flush=True)
    # Not sys.exit: threads of a download must not hold a retired process.
    os._exit(RETIRED)


if __name__ == "__main__":
    asyncio.run(main())
