"""multipart/mixed as go-livepeer's transcoders write it and its orchestrators read it."""
import re
import secrets

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(/[!#$%&'*+.^_`|~0-9A-Za-z-]+)?\Z")


class Malformed(Exception):
    """Delivered as an error result and answered 500."""


def write(parts, hashes=None):
    """(Content-Type, body). `parts` are (mime, pixels, data); headers in Go's order, which is by name."""
    boundary = secrets.token_hex(10)
    if not parts:
        # With no part the writer keeps a boundary of its own, which is not the one in the header.
        return f"multipart/mixed; boundary={boundary}", b"\r\n--" + secrets.token_hex(30).encode() + b"--\r\n"
    out, between = bytearray(), b""
    for i, (mime, pixels, data) in enumerate(parts):
        head = f"--{boundary}\r\nContent-Length: {len(data)}\r\nContent-Type: {mime}\r\nPixels: {pixels}\r\n\r\n"
        out += between + head.encode() + data
        between = b"\r\n"
        if hashes:
            head = f"--{boundary}\r\nContent-Length: {len(hashes[i])}\r\nContent-Type: application/octet-stream\r\n\r\n"
            out += between + head.encode() + hashes[i]
    out += f"\r\n--{boundary}--\r\n".encode()
    return f"multipart/mixed; boundary={boundary}", bytes(out)


def media_type(text):
    """(media type, boundary); (None, None) when it does not parse."""
    kind, *params = [p.strip() for p in text.split(";")]
    if not TOKEN.match(kind):
        return None, None
    boundary = ""
    for param in params:
        key, equals, value = param.partition("=")
        if not equals:
            return None, None
        if key.strip().lower() == "boundary":
            boundary = value.strip().strip('"')
    return kind.lower(), boundary


def read(body, boundary):
    """(parts' bytes, parts' pixels); a part with neither Pixels nor a hash's type is skipped."""
    if not boundary:
        raise Malformed("multipart: boundary is empty")
    mark = b"--" + boundary.encode()
    at = body.find(mark)
    if at < 0 or (at > 0 and body[at - 2:at] != b"\r\n"):
        raise Malformed("multipart: NextPart: EOF")
    parts, pixels = [], []
    at += len(mark)
    while not body.startswith(b"--", at):
        if not body.startswith(b"\r\n", at):
            raise Malformed("multipart: expecting a new Part")
        head_end = body.find(b"\r\n\r\n", at)
        if head_end < 0:
            # Cut inside a part's headers: to Go's reader a clean end.
            return parts, pixels
        lines = body[at + 2:head_end].decode("latin-1").split("\r\n")
        head = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        end = body.find(b"\r\n" + mark, head_end + 2)
        if end < 0:
            raise Malformed("unexpected EOF")
        data = body[head_end + 4:end]
        if "pixels" in head:
            if not re.match(r"[+-]?[0-9]+\Z", head["pixels"]):
                raise Malformed(f'strconv.ParseInt: parsing "{head["pixels"]}": invalid syntax')
            parts.append(data)
            pixels.append(int(head["pixels"]))
        elif head.get("content-type") == "application/octet-stream" and not parts:
            raise Malformed("Unknown perceptual hash")
        at = end + 2 + len(mark)
    return parts, pixels
