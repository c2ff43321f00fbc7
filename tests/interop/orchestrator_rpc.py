"""What a gateway asks an orchestrator by gRPC, for tests that look at the answer itself."""
import collections
import ssl

import grpc

from peer_proto import Capabilities, bytes_field

Seen = collections.namedtuple("Seen", "bits mandatories version")
# Field numbers of OrchestratorInfo and of EndTranscodingSessionRequest.
INFO_CAPABILITIES, END_AUTH_TOKEN = 5, 1


def call(address, method, request):
    """Bytes in, bytes out. Stock certificates are self-signed for the service address."""
    host, port = address.split(":")
    pem = ssl.get_server_certificate((host, int(port)))
    credentials = grpc.ssl_channel_credentials(pem.encode())
    with grpc.secure_channel(address, credentials) as channel:
        return channel.unary_unary(f"/net.Orchestrator/{method}")(request, timeout=10)


def field(message, number):
    """A length-delimited field of a message of which the proto here names nothing."""
    return next(data for n, data in _fields(message) if n == number)


def _fields(message):
    """(number, bytes) of every length-delimited field."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        if key & 7 == 2:
            length, at = _varint(message, at)
            yield key >> 3, message[at:at + length]
            at += length
        elif key & 7 == 0:
            _, at = _varint(message, at)
        else:
            at += 8 if key & 7 == 1 else 4


def _varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def capabilities(address):
    """GetOrchestrator as a gateway off-chain asks it: what the orchestrator says that it can."""
    info = call(address, "GetOrchestrator", b"")
    caps = Capabilities.FromString(field(info, INFO_CAPABILITIES))
    bits = lambda words: [64 * n + bit for n, word in enumerate(words) for bit in range(64) if word >> bit & 1]
    return Seen(bits(caps.bitstring), bits(caps.mandatories), caps.version)


def models(address):
    """{(capability, model): ModelConstraint} of GetOrchestrator."""
    info = call(address, "GetOrchestrator", b"")
    told = Capabilities.FromString(field(info, INFO_CAPABILITIES)).constraints.PerCapability
    return {(cap, name): model for cap, models in told.items() for name, model in models.models.items()}


def end_session(address, token):
    call(address, "EndTranscodingSession", bytes_field(END_AUTH_TOKEN, token.SerializeToString()))
