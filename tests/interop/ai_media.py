"""Pictures and recordings for AI jobs: real PNG and WAV, and what is in a PNG whoever wrote it."""
import io
import random
import pathlib
import struct
import subprocess
import tempfile
import wave
import zlib


def png(width, height, seed):
    """Noise: no two seeds give the same picture, and no encoder makes it small."""
    dice = random.Random(seed)
    rows = b"".join(b"\0" + dice.randbytes(3 * width) for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def size(picture):
    """(width, height) from a PNG's header."""
    assert picture.startswith(b"\x89PNG"), "a PNG"
    return struct.unpack(">II", picture[16:24])


def pixels(picture):
    """Its pixels: a stock worker decodes every PNG and writes it anew, so bytes may differ where pixels do not."""
    command = ["ffmpeg", "-v", "error", "-f", "png_pipe", "-i", "-", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, input=picture, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return size(picture), done.stdout


def wav(seconds, seed, rate=8_000):
    """Noise, too."""
    out = io.BytesIO()
    with wave.open(out, "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(2)
        recording.setframerate(rate)
        recording.writeframes(random.Random(seed).randbytes(2 * rate * seconds))
    return out.getvalue()


def recording(seconds, seed):
    """The same as AAC in MP4, told its length at its head: what every gateway can measure."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "recording.m4a"
        command = ["ffmpeg", "-v", "error", "-f", "wav", "-i", "-", "-c:a", "aac", "-movflags", "+faststart", path]
        done = subprocess.run(command, input=wav(seconds, seed), capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return path.read_bytes()
