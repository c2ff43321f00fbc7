"""Test video, made by the `ffmpeg` command: H.264 baseline and AAC, 2 s segments, small."""
import dataclasses
import json
import pathlib
import subprocess

WIDTH, HEIGHT, RATE, SECONDS = 320, 180, 30, 2


@dataclasses.dataclass
class Source:
    path: pathlib.Path
    data: bytes
    milliseconds: int = SECONDS * 1000
    resolution: str = f"{WIDTH}x{HEIGHT}"


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{command[0]}: {done.stderr}"
    return done.stdout


def segments(folder, count):
    """`count` segments of one stream, none like another."""
    folder = pathlib.Path(folder)
    gop = RATE * SECONDS
    picture = f"testsrc2=size={WIDTH}x{HEIGHT}:rate={RATE}"
    run(
        *("ffmpeg", "-v", "error", "-nostdin", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100"),
        *("-t", count * SECONDS, "-c:v", "libx264", "-profile:v", "baseline", "-preset", "veryfast", "-pix_fmt", "yuv420p"),
        *("-g", gop, "-keyint_min", gop, "-sc_threshold", "0", "-b:v", "300k", "-c:a", "aac", "-b:a", "64k"),
        *("-f", "segment", "-segment_time", SECONDS, "-segment_format", "mpegts", "-muxdelay", "0", folder / "%d.ts"),
    )
    paths = [folder / f"{n}.ts" for n in range(count)]
    return [Source(path, path.read_bytes()) for path in paths]


def as_mp4(source):
    """The same pictures in MP4: the renditions are then asked for in MP4 too."""
    path = source.path.with_suffix(".mp4")
    how = ("-c", "copy", "-bsf:a", "aac_adtstoasc", "-movflags", "+faststart")
    run("ffmpeg", "-v", "error", "-nostdin", "-y", "-i", source.path, *how, path)
    return Source(path, path.read_bytes())


def as_hevc(source):
    """The same pictures in HEVC."""
    path = source.path.with_name(f"hevc-{source.path.name}")
    how = ("-c:v", "libx265", "-x265-params", "log-level=error", "-c:a", "copy")
    run("ffmpeg", "-v", "error", "-nostdin", "-y", "-i", source.path, *how, path)
    return Source(path, path.read_bytes())


def pixels(path):
    """(frames, frames x width x height, container) of the first video stream, counted by decoding it."""
    fields = "stream=nb_read_frames,width,height:format=format_name"
    out = run("ffprobe", "-v", "error", "-count_frames", "-select_streams", "v:0", "-show_entries", fields, "-of", "json", path)
    found = json.loads(out)
    video = found["streams"][0]
    frames = int(video["nb_read_frames"])
    return frames, frames * video["width"] * video["height"], found["format"]["format_name"]
