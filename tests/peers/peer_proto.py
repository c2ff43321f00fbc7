"""The messages of `net`, from proto/livepeer.proto, and how fields unknown to it are added and seen."""
import pathlib
import tempfile

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.unknown_fields import UnknownFieldSet
from grpc_tools import protoc

PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto" / "livepeer.proto"
REGISTER = "/net.Transcoder/RegisterTranscoder"
# A number that no version of the protocol uses.
UNKNOWN = 99


def _classes():
    with tempfile.NamedTemporaryFile(suffix=".pb") as out:
        args = ["protoc", f"-I{PROTO.parent}", f"--descriptor_set_out={out.name}", PROTO.name]
        if protoc.main(args) != 0:
            raise SystemExit(f"protoc cannot read {PROTO}")
        files = descriptor_pb2.FileDescriptorSet.FromString(pathlib.Path(out.name).read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    names = ("RegisterRequest", "NotifySegment", "SegData", "AuthToken", "VideoProfile", "Capabilities")
    return [message_factory.GetMessageClass(pool.FindMessageTypeByName(f"net.{n}")) for n in names]


RegisterRequest, NotifySegment, SegData, AuthToken, VideoProfile, Capabilities = _classes()


def _varint(n):
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def bytes_field(number, data):
    """One length-delimited field, as on the wire."""
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def with_unknown(notify, outer, inner):
    """`notify` serialized, with field 99 in it and in its segData."""
    seg_data = notify.segData.SerializeToString() + bytes_field(UNKNOWN, inner)
    bare = NotifySegment()
    bare.CopyFrom(notify)
    bare.ClearField("segData")
    return bare.SerializeToString() + bytes_field(3, seg_data) + bytes_field(UNKNOWN, outer)


def unknown_fields(message):
    """The fields of `message` that the proto does not name: [[number, text], ...]."""
    def text(data):
        return data.decode("utf-8", "replace") if isinstance(data, bytes) else str(data)
    return [[f.field_number, text(f.data)] for f in UnknownFieldSet(message)]


def bitstring(bits):
    """Capability numbers as 64-bit words, little words first."""
    words = [0] * (max(bits, default=-1) // 64 + 1)
    for bit in bits:
        words[bit // 64] |= 1 << bit % 64
    return words


def fits(segment, worker):
    """(segment AND worker) == segment, a segment with more words never fitting."""
    if len(segment) > len(worker):
        return False
    return all(s & w == s for s, w in zip(segment, worker))


def _semver(text):
    parts = text.split("-")[0].split(".")
    return tuple(int(p) for p in parts) if len(parts) == 3 and all(p.isdigit() for p in parts) else None


def version_fits(minimum, version):
    """Prerelease suffixes ignored; no minimum = any; no version that parses = not compatible."""
    least, have = _semver(minimum), _semver(version)
    return least is None or (have is not None and have >= least)
