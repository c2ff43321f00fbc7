"""Real `livepeer` processes for AI jobs, and what applications ask of a gateway."""
import json
import re
import threading
import time
import urllib.parse
import urllib.request

from ai_runner import PIPELINES
from harness import until
from orchestrator_rpc import models
from stock import Node, StockGateway, StockOrchestrator, fetch

# What a stock AI worker prints where its loop ends for good; its process stays up.
RETIRED = "Terminating AI Worker because of"


def entries(url, pipelines=PIPELINES, capacity=2, model="interop/{}", token=None):
    """Lines of aiModels.json that name a runner by `url`, `{}` in it being the pipeline."""
    one = lambda p: {"pipeline": p, "model_id": model.format(p), "url": url.format(p), "warm": True, "capacity": capacity}
    return [one(p) | ({"token": token} if token else {}) for p in pipelines]


class AiNode(Node):
    """A process with models of its own."""

    def give_models(self, docker, listed):
        self.env["DOCKER_HOST"] = f"tcp://127.0.0.1:{docker.port}"
        self.models = self.folder / "aiModels.json"
        self.models.write_text(json.dumps(listed))
        self.command += ["-aiModels", self.models]


class StockAiWorker(AiNode):
    """`-aiWorker`, its runners given by url."""

    def __init__(self, binary, folder, name, dial, secret, docker, listed):
        super().__init__(binary, folder, name, "-aiWorker", "-orchAddr", dial, "-orchSecret", secret)
        self.give_models(docker, listed)

    def retired(self):
        return RETIRED in self.log_of_this_life

    def tasks(self):
        """taskIds that it was given."""
        return re.findall(r"taskId=(\d+) Received AI job", self.log)

    def registrations(self):
        return self.log_of_this_life.count("Registering AI worker to")


class AiOrchestrator(AiNode, StockOrchestrator):
    """`-orchestrator -aiWorker`: it calls runners by itself."""

    def __init__(self, binary, folder, name, docker, listed, **named):
        StockOrchestrator.__init__(self, binary, folder, name, **named)
        self.command.append("-aiWorker")
        self.give_models(docker, listed)


class Said:
    """What a gateway answered to one request."""

    def __init__(self, gateway, status, headers, body):
        self.gateway, self.status, self.headers, self.body = gateway, status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def outcome(self):
        """All that does not differ from one time to the next; files are taken for their names."""
        text = re.sub(rb'"/?[^"]*stream/[^"]+?/[0-9a-f]+(\.\w+)"', rb'"FILE\1"', self.body)
        return self.status, self.headers.get("Content-Type"), text.decode()

    def files(self):
        """What the addresses in the answer lead to."""
        media = self.json.get("images") or [self.json["audio"]]
        found = []
        for one in media:
            url = urllib.parse.urljoin(f"http://127.0.0.1:{self.gateway.http}/", one["url"])
            status, _, body = fetch(url)
            assert status == 200, (url, status, body)
            found.append(body)
        return found


def form(fields, name, file):
    """(Content-Type, body) of multipart/form-data."""
    mark = "interop-boundary-a1b2c3"
    field, kind = name
    head = f'--{mark}\r\nContent-Disposition: form-data; name="{field}"; filename="given.bin"\r\nContent-Type: {kind}\r\n\r\n'
    rest = "".join(f'\r\n--{mark}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}' for k, v in fields.items())
    return f"multipart/form-data; boundary={mark}", head.encode() + file + f"{rest}\r\n--{mark}--\r\n".encode()


class AiGateway(StockGateway):
    """`-gateway`, asked as applications ask it."""

    def ask(self, pipeline, fields, file=None, seconds=60):
        model = "model" if pipeline == "llm" else "model_id"
        fields = {model: f"interop/{pipeline}", **fields}
        if file is None:
            kind, body = "application/json", json.dumps(fields).encode()
        else:
            name = ("audio", "audio/wav") if pipeline == "audio-to-text" else ("image", "image/png")
            kind, body = form(fields, name, file)
        status, headers, got = fetch(f"http://127.0.0.1:{self.http}/{pipeline}", body, {"Content-Type": kind}, seconds)
        return Said(self, status, headers, got)

    def stream(self, content, seconds=60, seen=lambda _: None):
        """A streamed llm answer: [(when, chunk)], `seen` being called with each as it comes."""
        fields = {"model": "interop/llm", "messages": [{"role": "user", "content": content}], "max_tokens": 64, "stream": True}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http}/llm", json.dumps(fields).encode(), {"Content-Type": "application/json"}
        )
        got = []
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            assert answer.headers["Content-Type"] == "text/event-stream", answer.read()
            for line in answer:
                if line.startswith(b"data: "):
                    got.append((time.monotonic(), json.loads(line[6:])))
                    seen(got[-1][1])
        return got

    def errors(self):
        """What the orchestrator said to requests that failed, once each."""
        said = re.findall(r"Error submitting request modelID=\S+ try=\d+ orch=\S+ err=(.*)", self.log)
        return sorted(set(said))


def offered(orchestrator):
    """{pipeline: capacity} of the models of this suite, as a gateway is told."""
    told = models(orchestrator.address)
    return {name.removeprefix("interop/"): m.capacity for (_, name), m in told.items() if name.startswith("interop/")}


def wait_offered(orchestrator, capacities, seconds=30):
    until(lambda: offered(orchestrator) == capacities, seconds, f"{capacities} offered by {orchestrator.name}")


class InThread:
    """A call in a thread of its own, and what came of it."""

    def __init__(self, call, *args, **named):
        self.value = self.error = None
        self.thread = threading.Thread(target=self._run, args=(call, args, named), daemon=True)
        self.thread.start()

    def _run(self, call, args, named):
        try:
            self.value = call(*args, **named)
        except Exception as e:
            self.error = e

    @property
    def done(self):
        return not self.thread.is_alive()

    def result(self, seconds=60):
        self.thread.join(seconds)
        assert self.done, "no answer in time"
        if self.error is not None:
            raise self.error
        return self.value
