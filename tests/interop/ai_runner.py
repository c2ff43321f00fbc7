"""An HTTP runner with the API of livepeer's ai-runner, in a thread: real pictures, recordings, texts and streams.

Nothing in an answer is fixed: all of it follows from the request that came, so equal answers mean equal requests.
"""
import base64
import dataclasses
import hashlib
import http.server
import json
import re
import threading
import time

import ai_media

PIPELINES = (
    "text-to-image", "image-to-image", "image-to-video", "upscale", "audio-to-text",
    "segment-anything-2", "llm", "image-to-text", "text-to-speech",
)


@dataclasses.dataclass
class Job:
    """One request as it came."""

    pipeline: str
    path: str
    headers: dict
    # What it asks; numbers and words of a form are text.
    fields: dict
    file: bytes = None
    file_name: str = None

    @property
    def seed(self):
        """Follows from all that was asked."""
        asked = json.dumps(self.fields, sort_keys=True).encode() + (self.file or b"")
        return int.from_bytes(hashlib.sha256(asked).digest()[:6], "big")


def read_form(content_type, body):
    """(fields, file, file name) of multipart/form-data."""
    mark = b"\r\n--" + content_type.partition("boundary=")[2].strip('"').encode()
    fields, file, name = {}, None, None
    for part in (b"\r\n" + body).split(mark)[1:-1]:
        head, _, data = part.partition(b"\r\n\r\n")
        head = head.decode()
        field = re.search(r'\bname="([^"]*)"', head)[1]
        told = re.search(r'filename="([^"]*)"', head)
        if told:
            file, name = data, told[1]
        else:
            fields[field] = data.decode()
    return fields, file, name


def data_url(kind, data):
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def images(job, width, height):
    count = int(job.fields.get("num_images_per_prompt", 1))
    seeds = [job.seed + n for n in range(count)]
    return [{"url": data_url("image/png", ai_media.png(width, height, s)), "seed": s, "nsfw": False} for s in seeds]


def answer(job):
    """The usual answer to a job, but for a streamed llm."""
    asked, seed = job.fields, job.seed
    match job.pipeline:
        case "text-to-image":
            return {"images": images(job, asked.get("width", 64), asked.get("height", 64))}
        case "image-to-image":
            return {"images": images(job, *ai_media.size(job.file))}
        case "upscale":
            width, height = ai_media.size(job.file)
            return {"images": images(job, 2 * width, 2 * height)}
        case "image-to-video":
            size = int(asked["width"]), int(asked["height"])
            frames = [data_url("image/png", ai_media.png(*size, seed + n)) for n in range(8)]
            return {"frames": [[{"url": url, "seed": seed, "nsfw": False} for url in frames]]}
        case "audio-to-text":
            return {"text": f"heard {seed}", "chunks": [{"timestamp": [0.0, 1.5], "text": f"heard {seed}"}]}
        case "segment-anything-2":
            return {"masks": json.dumps([[seed, 1]]), "scores": json.dumps([0.25]), "logits": json.dumps([[0.5, seed]])}
        case "image-to-text":
            return {"text": f"ein Bild 🖼 {seed}"}
        case "text-to-speech":
            return {"audio": {"url": data_url("audio/wav", ai_media.wav(1, seed))}}
        case "llm":
            message = {"role": "assistant", "content": f"said {seed}"}
            return chunk(job, {"index": 0, "finish_reason": "stop", "message": message})


def chunk(job, *choices, usage=None):
    usage = usage or {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return {"id": f"c{job.seed}", "model": job.fields["model"], "created": 1735689600, "choices": list(choices), "usage": usage}


def words(job, count=20):
    """The usual streamed answer: one chunk a word, and an end."""
    for n in range(count):
        last = {"finish_reason": "stop"} if n == count - 1 else {}
        yield chunk(job, {"index": 0, "delta": {"role": "assistant", "content": f"w{n}-{job.seed} "}, **last})


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def send(self, status, value, kind="application/json"):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def events(self, chunks):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for value in chunks:
            self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")
            self.wfile.flush()
        self.close_connection = True

    def log_message(self, *_):
        pass


class RunnerHandler(Handler):
    def do_GET(self):
        kind = self.path.rsplit("/", 1)[1]
        _, prefix, *_ = self.path.split("/")
        pipeline, model = (prefix, f"interop/{prefix}") if prefix in PIPELINES else ("", "")
        names = {"pipeline": pipeline, "model_id": model}
        gpu = {"id": "GPU-1", "name": "No GPU", "major": 8, "minor": 6, "memory_free": 1 << 30, "memory_total": 1 << 31}
        match kind:
            case "health":
                self.send(200, {"status": "OK"})
            case "version":
                self.send(200, {**names, "version": self.server.runner.version})
            case "info":
                self.send(200, {**names, "gpu_info": {"0": gpu}})
            case _:
                self.send(404, {"detail": {"msg": "no such path"}})

    def do_POST(self):
        runner = self.server.runner
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kind = self.headers["Content-Type"]
        if kind.startswith("multipart/form-data"):
            fields, file, name = read_form(kind, body)
        else:
            fields, file, name = json.loads(body), None, None
        headers = {k.lower(): v for k, v in self.headers.items()}
        job = Job(self.path.rsplit("/", 1)[1], self.path, headers, fields, file, name)
        runner.jobs.append(job)
        instead = runner.instead(job)
        if instead is not None:
            instead(self, job)
        elif job.fields.get("stream") is True:
            self.events(words(job))
        else:
            self.send(200, answer(job))


class DockerHandler(Handler):
    def do_GET(self):
        if self.path.endswith("/_ping"):
            return self.send(200, b"OK", "text/plain")
        self.send(200, [] if self.path.partition("?")[0].endswith("/containers/json") else {})

    def do_HEAD(self):
        self.send(200, b"", "text/plain")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A caller that left in mid-answer: tests kill some."""


class Local:
    """An HTTP server on loopback, in a thread."""

    def __init__(self, handler):
        self.server = Server(("127.0.0.1", 0), handler)
        self.server.runner = self
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


class Docker(Local):
    """What a stock AI worker asks of a Docker daemon even when every model names a runner by its URL, and does not
    start without: whether it is there, which containers run (none), whether an image is here (it is). Nothing else
    of Docker's is needed, so the suite needs no daemon."""

    def __init__(self):
        super().__init__(DockerHandler)


class Runner(Local):
    """`base` is its address; `/<pipeline>/...` below it is the same runner with a version of its own."""

    def __init__(self, version="0.14.1"):
        self.jobs, self.rules, self.version = [], {}, version
        super().__init__(RunnerHandler)

    @property
    def base(self):
        return f"http://127.0.0.1:{self.port}"

    def instead(self, job):
        """What a test put in place of the usual answer: `rules[pipeline] = what(handler, job)`."""
        return self.rules.get(job.pipeline)

    def of(self, pipeline):
        return [job for job in self.jobs if job.pipeline == pipeline]

    def fail(self, pipeline, status, body):
        self.rules[pipeline] = lambda handler, _: handler.send(status, body)

    def hold(self, pipeline, gate):
        """Answers wait for `gate`, for a minute at most."""
        def held(handler, job):
            gate.wait(60)
            if job.fields.get("stream") is True:
                handler.events(words(job))
            else:
                handler.send(200, answer(job))
        self.rules[pipeline] = held

    def stream(self, chunks):
        """Streamed llm jobs answer what `chunks(job)` yields."""
        self.rules["llm"] = lambda handler, job: handler.events(chunks(job))
