"""A tap on the wire between a stock worker and the proxy: bytes pass unchanged, and are read on the way.

The worker dials the tap, which ends its TLS and dials the proxy with TLS of its own. What passes is kept as
the notices that the proxy sent, the sources that the worker got, and the results that it posted.
"""
import asyncio
import collections
import dataclasses
import ssl
import threading
import time

import hpack

import parts
from harness import free_port
from peer_http import self_signed
from peer_proto import REGISTER, NotifySegment, RegisterRequest

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, GOAWAY, CONTINUATION = 0, 1, 3, 7, 9
END_STREAM, END_HEADERS, PADDED, PRIORITY = 1, 4, 8, 32


@dataclasses.dataclass
class Result:
    """One POST of a worker, and what it was answered."""

    task: int
    headers: dict
    body: bytes
    status: int = 0

    @property
    def parts(self):
        """[(bytes, pixels)] of its renditions."""
        kind, _, boundary = self.headers["content-type"].partition("boundary=")
        if not kind.startswith("multipart/mixed"):
            return []
        return [(data, int(head["pixels"])) for head, data in parts.split(self.body, boundary) if "pixels" in head]


class Half:
    """One direction of an HTTP/2 connection, frame by frame."""

    def __init__(self, is_client, told):
        self.buffer = bytearray()
        self.expect_preface = is_client
        self.decoder = hpack.Decoder()
        self.block, self.block_flags = bytearray(), 0
        self.told = told

    def feed(self, data):
        self.buffer += data
        if self.expect_preface:
            if len(self.buffer) < len(PREFACE):
                return
            assert self.buffer.startswith(PREFACE)
            del self.buffer[:len(PREFACE)]
            self.expect_preface = False
        while len(self.buffer) >= 9:
            length = int.from_bytes(self.buffer[:3], "big")
            if len(self.buffer) < 9 + length:
                return
            kind, flags = self.buffer[3], self.buffer[4]
            stream = int.from_bytes(self.buffer[5:9], "big") & 0x7FFF_FFFF
            payload = bytes(self.buffer[9:9 + length])
            del self.buffer[:9 + length]
            self.frame(kind, flags, stream, payload)

    def frame(self, kind, flags, stream, payload):
        if kind in (DATA, HEADERS) and flags & PADDED:
            payload = payload[1:len(payload) - payload[0]]
        if kind == HEADERS:
            self.block = bytearray(payload[5:] if flags & PRIORITY else payload)
            self.block_flags = flags
        elif kind == CONTINUATION:
            self.block += payload
        elif kind == DATA:
            self.told("data", stream, payload)
        elif kind in (RST_STREAM, GOAWAY):
            code = payload[:4] if kind == RST_STREAM else payload[4:8]
            self.told("reset" if kind == RST_STREAM else "goaway", stream, int.from_bytes(code, "big"))
        if kind in (HEADERS, CONTINUATION) and flags & END_HEADERS:
            headers = {}
            for name, value in self.decoder.decode(bytes(self.block)):
                headers.setdefault(name, value)
            self.told("headers", stream, headers)
            flags |= self.block_flags & END_STREAM if kind == CONTINUATION else 0
        if kind in (DATA, HEADERS, CONTINUATION) and flags & END_STREAM:
            self.told("end", stream, None)


class Connection2:
    """Both halves of one HTTP/2 connection put together."""

    def __init__(self, tap):
        self.tap = tap
        self.paths, self.heads = {}, {}
        self.up, self.down = collections.defaultdict(bytearray), collections.defaultdict(bytearray)
        self.posts = {}
        self.client = Half(True, self.from_client)
        self.server = Half(False, self.from_server)

    def from_client(self, what, stream, value):
        if what == "headers":
            self.paths[stream], self.heads[stream] = value.get(":path"), value
        elif what == "data":
            self.up[stream] += value
            if self.paths.get(stream) == REGISTER:
                for message in messages(self.up[stream]):
                    self.tap.registrations.append(RegisterRequest.FromString(message))
        elif what == "end" and self.paths.get(stream) == "/transcodeResults":
            head = self.heads[stream]
            self.posts[stream] = Result(int(head["taskid"]), head, bytes(self.up.pop(stream, b"")))
            self.tap.results.append(self.posts[stream])

    def from_server(self, what, stream, value):
        if what == "data" and self.paths.get(stream) == REGISTER:
            self.down[stream] += value
            for message in messages(self.down[stream]):
                self.tap.notices.append((time.monotonic(), NotifySegment.FromString(message)))
        elif what == "headers":
            if stream in self.posts and ":status" in value:
                self.posts[stream].status = int(value[":status"])
            if "grpc-status" in value:
                self.tap.goodbyes.append((value["grpc-status"], value.get("grpc-message", "")))
        elif what == "reset":
            self.tap.resets.append((self.paths.get(stream), value))


def messages(buffer):
    """Whole gRPC messages, taken out of `buffer`."""
    while len(buffer) >= 5 and len(buffer) >= 5 + (length := int.from_bytes(buffer[1:5], "big")):
        message = bytes(buffer[5:5 + length])
        del buffer[:5 + length]
        yield message


class Connection1:
    """HTTP/1.1, as workers download: one request after another."""

    def __init__(self, tap):
        self.tap = tap
        self.requests, self.buffer = collections.deque(), bytearray()
        self.asked = bytearray()
        self.client, self.server = self, Down(self)

    def feed(self, data):
        self.asked += data
        while (end := self.asked.find(b"\r\n\r\n")) >= 0:
            method, path, _ = self.asked[:end].decode("latin-1").split("\r\n")[0].split(" ")
            self.requests.append((method, path))
            del self.asked[:end + 4]

    def answered(self, data):
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            lines = self.buffer[:end].decode("latin-1").split("\r\n")
            head = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
            taken = self.body(bytes(self.buffer[end + 4:]), head)
            if taken is None:
                return
            body, used = taken
            del self.buffer[:end + 4 + used]
            self.tap.downloads.append((self.requests.popleft()[1], int(lines[0].split(" ")[1]), body))

    @staticmethod
    def body(data, head):
        """(body, bytes used), or None while it is not whole."""
        if "chunked" not in head.get("transfer-encoding", ""):
            length = int(head.get("content-length", 0))
            return (data[:length], length) if len(data) >= length else None
        body, at = bytearray(), 0
        while (end := data.find(b"\r\n", at)) >= 0:
            size = int(data[at:end], 16)
            if len(data) < end + 4 + size:
                return None
            body += data[end + 2:end + 2 + size]
            at = end + 4 + size
            if size == 0:
                return bytes(body), at
        return None


class Down:
    """The answering half of an HTTP/1.1 connection."""

    def __init__(self, connection):
        self.feed = connection.answered


class Tap:
    """Listens on a port of its own; `dial` is where a worker goes instead of to the proxy."""

    def __init__(self, upstream_port):
        self.upstream, self.port = upstream_port, free_port()
        self.registrations, self.notices, self.goodbyes, self.resets = [], [], [], []
        self.downloads, self.results, self.faults = [], [], []
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.server = asyncio.run_coroutine_threadsafe(self._listen(), self.loop).result(10)

    @property
    def dial(self):
        return f"127.0.0.1:{self.port}"

    async def _listen(self):
        return await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self_signed("127.0.0.1"))

    async def _serve(self, reader, writer):
        spoken = writer.get_extra_info("ssl_object").selected_alpn_protocol()
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols([spoken] if spoken else ["http/1.1"])
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream, ssl=context)
        except OSError:
            writer.close()
            return
        connection = Connection2(self) if spoken == "h2" else Connection1(self)
        ways = [self._pump(reader, up_writer, connection.client), self._pump(up_reader, writer, connection.server)]
        # An end that goes takes the other with it, as without a tap.
        await asyncio.wait([asyncio.ensure_future(way) for way in ways], return_when=asyncio.FIRST_COMPLETED)
        for end in (writer, up_writer):
            end.close()

    async def _pump(self, reader, writer, eye):
        try:
            while data := await reader.read(1 << 16):
                # What is read twice must not hold up what passes.
                writer.write(data)
                try:
                    eye.feed(data)
                except Exception as e:
                    self.faults.append(repr(e))
                    raise
                await writer.drain()
        except OSError:
            pass

    def tasks(self):
        """taskId -> the notice of a segment."""
        return {n.taskId: n for _, n in self.notices if n.url}

    def teardowns(self):
        """Session ids whose end was told."""
        return [n.segData.auth_token.session_id for _, n in self.notices if not n.url]

    def close(self):
        self.loop.call_soon_threadsafe(self.server.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
