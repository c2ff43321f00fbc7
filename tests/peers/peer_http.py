"""A small TLS server for HTTP/1.1 and HTTP/2 on one port, on asyncio, the `h2` package and `ssl`."""
import asyncio
import datetime
import ipaddress
import pathlib
import ssl
import tempfile

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

# What go-livepeer's server allows.
STREAMS = 250
WINDOW = 1 << 20
HEAD_LIMIT = 64 << 10


def make_certificate(host):
    """(private key, certificate) as PEM, self-signed, for `host` (an IP address) and localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Livepeer")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(host))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding, no_password = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, no_password)
    return private, certificate.public_bytes(encoding)


def self_signed(host):
    """A server context with a certificate made now."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with tempfile.TemporaryDirectory() as folder:
        pem = pathlib.Path(folder) / "both.pem"
        pem.write_bytes(b"".join(make_certificate(host)))
        context.load_cert_chain(pem)
    return context


class Broken(Exception):
    """The other end went away or reset the stream."""


class Exchange:
    """One request and its answer, whatever the HTTP version."""

    def __init__(self, method, path, headers, peer, version):
        self.method, self.path, self.headers = method, path, headers
        self.peer, self.version = peer, version
        self.chunks = asyncio.Queue()
        self.gone = asyncio.Event()

    async def body(self):
        """All of the body; Broken when it ends early."""
        out = bytearray()
        while (chunk := await self.chunks.get()) is not None:
            if isinstance(chunk, Exception):
                raise chunk
            out += chunk
            self.consumed(len(chunk))
        return bytes(out)

    def consumed(self, size):
        pass

    async def answer(self, status, body, content_type="text/plain; charset=utf-8"):
        raise NotImplementedError


# === HTTP/2 ===


class H2Exchange(Exchange):
    def __init__(self, link, stream, *args):
        super().__init__(*args)
        self.link, self.stream = link, stream

    def consumed(self, size):
        self.link.consumed(self.stream, size)

    def send_headers(self, headers, end=False):
        self._alive()
        self.link.h2.send_headers(self.stream, headers, end_stream=end)
        self.link.flush()

    async def send_data(self, data, end=False):
        view = memoryview(data)
        while True:
            self._alive()
            room = min(self.link.h2.local_flow_control_window(self.stream), self.link.h2.max_outbound_frame_size)
            if room <= 0 and view:
                await self.link.window_opened()
                continue
            part, view = view[:room], view[room:]
            self.link.h2.send_data(self.stream, bytes(part), end_stream=end and not view)
            self.link.flush()
            if not view:
                return

    async def answer(self, status, body, content_type="text/plain; charset=utf-8"):
        head = [(":status", str(status)), ("content-type", content_type), ("content-length", str(len(body)))]
        self.send_headers(head, end=not body)
        if body:
            await self.send_data(body, end=True)

    def reset(self, code=h2.errors.ErrorCodes.CANCEL):
        self._alive()
        self.link.h2.reset_stream(self.stream, code)
        self.link.flush()
        self.gone.set()

    def _alive(self):
        if self.gone.is_set() or self.link.closed:
            raise Broken("stream is gone")


class H2Link:
    """One HTTP/2 connection."""

    def __init__(self, reader, writer, handler):
        self.reader, self.writer, self.handler = reader, writer, handler
        self.peer = "%s:%s" % writer.get_extra_info("peername")[:2]
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.streams, self.tasks, self.closed = {}, set(), False
        self._window = asyncio.Event()

    def flush(self):
        data = self.h2.data_to_send()
        if data and not self.closed:
            self.writer.write(data)

    async def window_opened(self):
        self._window.clear()
        await self._window.wait()

    def consumed(self, stream, size):
        if self.closed:
            return
        self.h2.acknowledge_received_data(size, stream)
        self.flush()

    async def serve(self):
        codes = h2.settings.SettingCodes
        values = {codes.MAX_CONCURRENT_STREAMS: STREAMS, codes.INITIAL_WINDOW_SIZE: WINDOW}
        self.h2.local_settings = h2.settings.Settings(client=False, initial_values=values)
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(WINDOW - 65535)
        self.flush()
        try:
            while data := await self.reader.read(65536):
                for event in self.h2.receive_data(data):
                    self._event(event)
                self.flush()
                await self.writer.drain()
        except (OSError, h2.exceptions.ProtocolError):
            self.flush()
        finally:
            self.close()

    def close(self):
        self.closed = True
        for exchange in list(self.streams.values()):
            self._end(exchange)
        self._window.set()
        self.writer.close()

    def _end(self, exchange):
        exchange.chunks.put_nowait(Broken("body broke off"))
        exchange.gone.set()
        self._window.set()

    def _event(self, event):
        if isinstance(event, h2.events.RequestReceived):
            headers = dict(event.headers)
            exchange = H2Exchange(self, event.stream_id, headers[":method"], headers[":path"], headers, self.peer, 2)
            self.streams[event.stream_id] = exchange
            task = asyncio.ensure_future(self._handle(exchange))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        elif isinstance(event, h2.events.DataReceived):
            exchange = self.streams.get(event.stream_id)
            padding = event.flow_controlled_length - len(event.data)
            # Bytes that no handler will read give their window back at once.
            if unread := padding if exchange else event.flow_controlled_length:
                self.consumed(event.stream_id, unread)
            if exchange is not None and event.data:
                exchange.chunks.put_nowait(event.data)
        elif isinstance(event, h2.events.StreamEnded):
            if exchange := self.streams.get(event.stream_id):
                exchange.chunks.put_nowait(None)
        elif isinstance(event, h2.events.StreamReset):
            if exchange := self.streams.get(event.stream_id):
                self._end(exchange)
        elif isinstance(event, (h2.events.WindowUpdated, h2.events.RemoteSettingsChanged)):
            self._window.set()
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.close()

    async def _handle(self, exchange):
        try:
            await self.handler(exchange)
        except (Broken, h2.exceptions.ProtocolError):
            pass
        finally:
            self.streams.pop(exchange.stream, None)
            left = 0
            while not exchange.chunks.empty():
                chunk = exchange.chunks.get_nowait()
                left += len(chunk) if isinstance(chunk, bytes) else 0
            if left:
                self.consumed(exchange.stream, left)


# === HTTP/1.1 ===


class H1Exchange(Exchange):
    def __init__(self, writer, *args):
        super().__init__(*args)
        self.writer = writer

    async def answer(self, status, body, content_type="text/plain; charset=utf-8"):
        head = f"HTTP/1.1 {status} {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)
        await self.writer.drain()


async def _serve_h1(reader, writer, handler):
    peer = "%s:%s" % writer.get_extra_info("peername")[:2]
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").rstrip().split("\r\n")
            method, path, _ = first.split(" ", 2)
            headers = {k.strip().lower(): v.strip() for k, v in (line.split(":", 1) for line in lines)}
            exchange = H1Exchange(writer, method, path, headers, peer, 1)
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            exchange.chunks.put_nowait(body)
            exchange.chunks.put_nowait(None)
            await handler(exchange)
            if headers.get("connection", "").lower() == "close":
                return
    except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass
    finally:
        writer.close()


class Server:
    """Listens until `stop`; `handler(exchange)` answers each request."""

    def __init__(self, handler, host="127.0.0.1", port=0):
        self.handler, self.host, self.port = handler, host, port
        self.links, self._server = set(), None

    async def start(self):
        context = self_signed(self.host)
        self._server = await asyncio.start_server(
            self._accept, self.host, self.port, ssl=context, limit=HEAD_LIMIT, ssl_handshake_timeout=10
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self):
        """Cuts every connection, as a killed process does."""
        self._server.close()
        for writer in list(self.links):
            writer.transport.abort()
        # Let the handlers see it.
        await asyncio.sleep(0.05)

    async def _accept(self, reader, writer):
        self.links.add(writer)
        try:
            if writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2":
                await H2Link(reader, writer, self.handler).serve()
            else:
                await _serve_h1(reader, writer, self.handler)
        finally:
            self.links.discard(writer)
