"""What two real readers of events make of /llm: httpx-sse and the openai package."""
import json
import sys
import time

import httpx
import httpx_sse
import openai

BASE = sys.argv[1]
BODY = {"model": "org/model", "max_tokens": 12, "stream": True, "messages": [{"role": "user", "content": "hello, 日本"}]}


def by_httpx() -> str:
    text, ends, done = "", 0, False
    with httpx.Client(timeout=20) as client, httpx_sse.connect_sse(client, "POST", f"{BASE}/llm", json=BODY) as source:
        assert source.response.status_code == 200, source.response.status_code
        for event in source.iter_sse():
            assert not done, "something after [DONE]"
            if event.data == "[DONE]":
                done = True
                continue
            chunk = json.loads(event.data)
            assert chunk["choices"], f"a chunk without choices: {chunk}"
            choice = chunk["choices"][0]
            assert not ends, f"a chunk behind the end: {chunk}"
            text += choice["delta"].get("content") or ""
            ends += choice.get("finish_reason") is not None
            usage = chunk.get("usage")
    assert done and ends == 1, (done, ends)
    assert usage["completion_tokens"] == 12, usage
    return text


def by_openai(stream: bool) -> str:
    """Its requests go to /chat/completions: only its parser is what counts here."""

    def to_llm(request: httpx.Request) -> None:
        request.url = request.url.copy_with(path="/llm")

    with httpx.Client(timeout=20, event_hooks={"request": [to_llm]}) as http:
        client = openai.OpenAI(base_url=BASE, api_key="none", http_client=http, max_retries=0)
        answer = client.chat.completions.create(**{**BODY, "stream": stream})
        if not stream:
            assert answer.choices[0].finish_reason == "stop" and answer.usage.total_tokens > 12
            return answer.choices[0].message.content
        return "".join(chunk.choices[0].delta.content or "" for chunk in answer)


def refused() -> None:
    """An error instead of a stream is JSON, whatever was asked for."""
    answer = httpx.post(f"{BASE}/llm", json={**BODY, "model": "org/nobody"}, timeout=20)
    assert answer.status_code == 500 and answer.headers["content-type"] == "application/json", answer
    assert isinstance(answer.json()["detail"]["msg"], str)


began = time.monotonic()
count = 0
for _ in range(30):
    texts = {by_httpx(), by_openai(True), by_openai(False)}
    assert len(texts) == 1, texts
    count += 3
refused()
print(f"streams: {count} answers, all alike, {time.monotonic() - began:.1f} s")
