"""The prepared segments of examples/media: what a source becomes, found by its bytes."""
import dataclasses
import hashlib
import pathlib

MEDIA = pathlib.Path(__file__).resolve().parents[2] / "examples" / "media"
FRAMES = 60  # 2 s at 30 frames a second
WIDTH, HEIGHT = 640, 360
SIZES = ((426, 240), (256, 144))


@dataclasses.dataclass(frozen=True)
class Source:
    name: str
    data: bytes
    renditions: dict  # (width, height) -> bytes

    @property
    def pixels(self):
        return WIDTH * HEIGHT * FRAMES


def pixels(width, height):
    return width * height * FRAMES


def load(folder=MEDIA):
    """The sources in order of their names."""
    found = []
    for path in sorted(folder.glob("src?.ts")):
        renditions = {(w, h): (folder / f"{path.stem}-{w}x{h}.ts").read_bytes() for w, h in SIZES}
        found.append(Source(path.stem, path.read_bytes(), renditions))
    if not found:
        raise SystemExit(f"no segments in {folder}; make them with examples/media/make.sh")
    return found


def by_hash(sources):
    return {hashlib.sha256(s.data).digest(): s for s in sources}


def digest(data):
    """A short name for bytes, to compare logs with."""
    return hashlib.sha256(data).hexdigest()[:16]
