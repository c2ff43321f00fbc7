"""Real files for the forms: noise is no picture, and is refused."""
import io
import struct
import wave
import zlib

import schemathesis
from hypothesis import strategies as st


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = (b"\0" + b"\x7f" * width) * height
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def wav(seconds: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(b"\0\0" * 8000 * seconds)
    return file.getvalue()


schemathesis.openapi.media_type("image/png", st.sampled_from([png(1, 1), png(20, 10), png(64, 64)]))
schemathesis.openapi.media_type("audio/wav", st.sampled_from([wav(1), wav(3)]))
