"""A pool and, beside it, an orchestrator without one: the same is asked of both."""
import json

import ai_media
from ai_runner import PIPELINES
from ai_stock import AiOrchestrator, StockAiWorker, entries, wait_offered
from harness import free_port, until

# The files and the words of the requests; what is not told here is left out, as applications do.
PICTURE, RECORDING = ai_media.png(48, 32, 1), ai_media.recording(3, 2)
ASKED = {
    "text-to-image": ({"prompt": "eine Brücke 🌉", "width": 80, "height": 64, "num_images_per_prompt": 2, "seed": 7,
                       "guidance_scale": 7.5, "num_inference_steps": 4, "negative_prompt": "fog", "safety_check": False,
                       "loras": '{"maker/lora": 0.5}'}, None),
    "image-to-image": ({"prompt": "as oil", "strength": 0.8, "guidance_scale": 7.5, "image_guidance_scale": 1.5,
                        "num_images_per_prompt": 2, "seed": 3, "safety_check": "true"}, PICTURE),
    "image-to-video": ({"width": 128, "height": 96, "fps": 8, "motion_bucket_id": 127, "noise_aug_strength": 0.02}, PICTURE),
    "upscale": ({"prompt": "sharper", "num_inference_steps": 5}, PICTURE),
    "audio-to-text": ({"return_timestamps": "word"}, RECORDING),
    "segment-anything-2": ({"point_coords": "[[10,10]]", "point_labels": "[1]", "multimask_output": "false"}, PICTURE),
    "llm": ({"messages": [{"role": "system", "content": "kurz"}, {"role": "user", "content": "Grüße & <tags>"}],
             "max_tokens": 64, "temperature": 0.7, "top_p": 0.9, "stream": False}, None),
    "image-to-text": ({"prompt": "what is it"}, PICTURE),
    "text-to-speech": ({"text": "Grüß Gott", "description": "calm"}, None),
}
OF_FILES = ("text-to-image", "image-to-image", "upscale")


# How the orchestrator reaches us, and who works behind us.
DOORS, WORKERS = ("grpc", "runner-port"), ("aiworker", "http-runner")


def capacity_of(pipelines, capacity):
    return dict.fromkeys(pipelines, capacity)


class Both:
    """The same gateway request through the pool and without it."""

    def __init__(self, pool, pipelines=PIPELINES, capacity=2, door="grpc", worker="aiworker"):
        self.pool, self.door, self.kind = pool, door, worker
        self.runner, self.bare_runner = pool.runner(), pool.runner()
        # A film of an AI worker cannot be given back as the frames that an orchestrator expects of a runner.
        self.lacks = {"image-to-video"} if (door, worker) == ("runner-port", "aiworker") else set()
        if door == "grpc" and worker == "http-runner":
            self.lacks = {"image-to-video"}
        self.pipelines = [p for p in pipelines if p not in self.lacks]
        self._without(capacity)
        self._through(capacity)
        for orchestrator in (self.bare, self.orchestrator):
            wait_offered(orchestrator, capacity_of(self.pipelines, capacity), 60)
        self.through = pool.ai_gateway(self.orchestrator, name="gateway-through")
        self.without = pool.ai_gateway(self.bare, name="gateway-without")

    def _without(self, capacity):
        listed = entries(self.bare_runner.base + "/{}", self.pipelines, capacity)
        if self.door == "grpc":
            self.bare = self.pool.orchestrator("bare")
            at, secret = self.bare.address, self.bare.secret
            self.bare_worker = self.pool.node(StockAiWorker, "of-bare", at, secret, self.pool.docker(), listed)
        else:
            self.bare = self.pool.node(AiOrchestrator, "bare", self.pool.docker(), listed)

    def _through(self, capacity):
        pool, more = self.pool, ""
        if self.door == "grpc":
            self.orchestrator = pool.orchestrator()
        else:
            more += f'runner: {{listen: "127.0.0.1:{free_port()}"}}\n'
            # Its models are written once the pool has some.
            self.orchestrator = pool.made(AiOrchestrator, "orchestrator", pool.docker(), [])
        if self.kind == "http-runner":
            models = ", ".join(f"{p} interop/{p} x{capacity}" for p in self.pipelines)
            more += f'runners: [{{url: "{self.runner.base}", models: [{models}]}}]\n'
        pool.serve(self.orchestrator, more=more)
        self.worker = None
        if self.kind == "aiworker":
            self.worker = pool.ai_worker("worker", self.runner, pipelines=self.pipelines, capacity=capacity)
        if self.door != "grpc":
            told = until(lambda: self._told(), 20, "the pool's models in `ai models`")
            assert told == capacity_of(self.pipelines, capacity)
            self.orchestrator.models.write_text(pool.proxy.run("ai", "models"))
            # It asks for our health as it starts.
            self.orchestrator.start()

    def _told(self):
        """What `ai models` prints, once it is for all."""
        listed = json.loads(self.pool.proxy.run("ai", "models"))
        told = {one["pipeline"]: one["capacity"] for one in listed}
        return told if set(told) >= set(self.pipelines) else None

    def rule(self, how, *args):
        """The same rule for both runners."""
        for runner in (self.runner, self.bare_runner):
            getattr(runner, how)(*args)

    def ask(self, pipeline, fields, file=None):
        return self.through.ask(pipeline, fields, file), self.without.ask(pipeline, fields, file)
