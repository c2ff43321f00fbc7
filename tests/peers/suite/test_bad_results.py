"""What a result that is not one gets, by a client of our own making: reliability.md, section 6."""
import http.client
import pathlib
import socket
import time
import urllib.parse

import httpx
import pytest

import peer_media
import peer_multipart
from harness import POOL_SECRET, address, until
from transcoder import any_certificate

SECRET = f"{POOL_SECRET}:{address(100)[:-2]}"
COUNT = 16


class Hands:
    """Workers that take tasks and never answer: the test answers in their place."""

    def __init__(self, pool):
        self.pool = pool
        flags = ("--mode", "hang", "--count", str(COUNT))
        self.worker = pool.worker("hand", *flags, secret=SECRET + "{n}")
        self.used, self.sessions = set(), 0
        self.client = httpx.Client(http1=False, http2=True, verify=any_certificate(), trust_env=False, timeout=4)
        self.media = {s.name: s for s in pool.orch.sources}

    def secret(self, lease):
        return SECRET + lease["who"].removeprefix("hand")

    def lease(self):
        """A task that some worker holds just now."""
        self.sessions += 1
        self.asked = self.pool.threads[0].begin(
            self.pool.orch.segment(f"s{self.sessions}", self.media["src1"])
        )
        return until(self.fresh, 8, "a task")

    def fresh(self):
        for e in self.worker.events("task"):
            if e["task"] not in self.used and e["session"] == f"s{self.sessions}":
                self.used.add(e["task"])
                return e
        return None

    def good(self, pixels=1):
        """(Content-Type, body) that this segment deserves."""
        parts = [("video/mp2t", peer_media.pixels(w, h) * pixels, d) for (w, h), d in self.media["src1"].renditions.items()]
        return peer_multipart.write(parts)

    def post(self, lease, kind=None, body=None, **headers):
        good_kind, good_body = self.good()
        head = {
            "Authorization": "Livepeer-Transcoder-1.0", "Credentials": self.secret(lease), "TaskId": str(lease["task"]),
            "Pixels": str(640 * 360 * 60), "Content-Type": good_kind if kind is None else kind,
        }
        head = {k: v for k, v in (head | headers).items() if v is not None and v != ""}
        url = f"https://{self.pool.proxy.address}/transcodeResults"
        return self.client.post(url, headers=head, content=good_body if body is None else body)


@pytest.fixture
def hands(pool):
    pool.serve()
    hands = Hands(pool)
    pool.capacity(10 * COUNT)
    yield hands
    hands.client.close()


def plain(answer):
    """The sentence that a stock worker prints: short, one line, without `%`."""
    text = answer.text.strip()
    assert text and len(text) <= 300 and "\n" not in text and "%" not in text, text
    return text


def test_whose_result_it_is(hands):
    lease = hands.lease()
    other = SECRET + next(f"{n:02}" for n in range(1, COUNT) if f"hand{n:02}" != lease["who"])
    rows = [
        ({"Authorization": None}, 401), ({"Authorization": "Livepeer-Transcoder-2.0"}, 401),
        ({"Credentials": None}, 401), ({"Credentials": "wrong"}, 401), ({"Credentials": other}, 403),
        ({"TaskId": None}, 400), ({"TaskId": "abc"}, 400), ({"TaskId": "-1"}, 404),
        ({"TaskId": str(1 << 63)}, 404), ({"TaskId": str(lease["task"] ^ 1)}, 404), ({"TaskId": "0"}, 404),
    ]
    wrong = []
    for change, status in rows:
        answer = hands.post(lease, **change)
        plain(answer)
        if answer.status_code != status:
            wrong.append(f"{change}: {answer.status_code} {answer.text.strip()}, should be {status}")
    assert wrong == []
    assert not hands.asked.done(), "none of these cost the worker its task"
    answer = hands.post(lease)
    assert (answer.status_code, answer.text.strip()) == (200, "OK")
    outcome = hands.asked.result(5)
    hands.pool.whole([outcome])
    posts = [p for p in hands.pool.orch.posts if p["task"] == str(outcome.task)]
    assert [p["status"] for p in posts] == [200], "one post, and nothing unauthenticated went upstream"


def test_a_refusal_reaches_a_client_that_sends_all_before_it_reads(hands):
    lease = hands.lease()
    kind, _ = hands.good()
    rows = [
        ({"TaskId": str(lease["task"] ^ 1)}, 1_000_000, 404), ({"TaskId": "abc"}, 1_000_000, 400),
        ({"Credentials": "wrong"}, 60_000, 401), ({"Authorization": None}, 60_000, 401),
    ]
    for change, size, status in rows:
        assert hands.post(lease, kind, b"x" * size, **change).status_code == status, change
    assert not hands.asked.done()
    assert hands.post(lease).status_code == 200, "what is too long for us is cut, the connection lives"


def test_the_same_again_is_taken_and_other_bytes_are_not(hands):
    lease = hands.lease()
    kind, body = hands.good()
    assert hands.post(lease, kind, body).status_code == 200
    hands.pool.whole([hands.asked.result(5)])
    assert hands.post(lease, kind, body).status_code == 200, "the same bytes"
    cut = body.replace(b"\x47\x40\x11", b"\x47\x40\x12", 1)
    assert hands.post(lease, kind, cut if cut != body else body[:-60] + body[-59:]).status_code == 409
    other = hands.good(pixels=2)
    assert hands.post(lease, *other).status_code == 409
    hands.pool.paid(1)


def multipart(*parts, boundary="0123456789abcdef0123", end=True):
    out = b""
    for headers, data in parts:
        out += b"--" + boundary.encode() + b"\r\n" + headers.encode() + b"\r\n\r\n" + data + b"\r\n"
    return f"multipart/mixed; boundary={boundary}", out + (f"--{boundary}--\r\n".encode() if end else b"")


def part(data, pixels, length=None, kind="video/mp2t"):
    return f"Content-Length: {len(data) if length is None else length}\r\nContent-Type: {kind}\r\nPixels: {pixels}", data


def bad_bodies():
    source = peer_media.load()[0]
    small, tiny = source.renditions[426, 240], source.renditions[256, 144]
    p0, p1 = 426 * 240 * 60, 256 * 144 * 60
    kind, body = multipart(part(small, p0), part(tiny, p1))
    nested_kind, nested = multipart(part(small, p0))
    yield "no-type", {"Content-Type": None}, "", body
    yield "type-not-a-type", {}, "///", body
    yield "another-type", {}, "video/mp2t", body
    yield "no-boundary", {}, "multipart/mixed", body
    yield "another-boundary", {}, "multipart/mixed; boundary=00000000000000000000", body
    yield "truncated", {}, kind, body[: len(body) - 30_000]
    yield "without-closing-boundary", {}, *multipart(part(small, p0), part(tiny, p1), end=False)
    yield "empty-body", {}, kind, b"\r\n"
    yield "no-parts", {}, *peer_multipart.write([])
    yield "nested", {}, *multipart(part(nested, p0, kind=nested_kind), part(tiny, p1))
    yield "10000-parts", {}, *multipart(*[part(b"x", 1)] * 10_000)
    yield "lying-length", {}, *multipart(part(small, p0, length=7), part(tiny, p1))
    yield "empty-part", {}, *multipart(part(b"", p0), part(tiny, p1))
    yield "one-part-too-few", {}, *multipart(part(small, p0))
    yield "one-part-too-many", {}, *multipart(part(small, p0), part(tiny, p1), part(tiny, p1))
    yield "parts-changed-about", {}, *multipart(part(tiny, p1), part(small, p0))
    yield "html", {}, *multipart(part(b"<html>" * 999, p0), part(tiny, p1))
    yield "source-echoed", {}, *multipart(part(source.data, p0), part(tiny, p1))
    yield "another-source", {}, *multipart(part(small[:-188 * 60], p0), part(tiny, p1))
    yield "pixels-missing", {"Pixels": None}, kind, body
    yield "pixels-negative", {"Pixels": "-5"}, kind, body
    yield "part-pixels-missing", {}, *multipart((part(small, p0)[0].rsplit("\r\n", 1)[0], small), part(tiny, p1))
    yield "part-pixels-negative", {}, *multipart(part(small, -p0), part(tiny, p1))
    yield "part-pixels-10-times", {}, *multipart(part(small, 10 * p0), part(tiny, p1))


CASES = {name: rest for name, *rest in bad_bodies()}
STATUS = {"no-type": (415,), "type-not-a-type": (415,), "another-type": (415,), "no-boundary": (400, 415)}


def test_what_a_result_must_look_like(hands):
    """One pool for all rows: each takes a task anew, and after each the pool still answers."""
    wrong = []
    for name, (headers, kind, body) in CASES.items():
        lease = hands.lease()
        try:
            answer = hands.post(lease, kind, body, **headers)
        except httpx.HTTPError as e:
            wrong.append(f"{name}: {e!r}")
            continue
        if answer.status_code not in STATUS.get(name, (400, 413, 422)) or answer.text.strip() == "":
            wrong.append(f"{name}: {answer.status_code} {answer.text.strip()!r}")
            continue
        plain(answer)
        # The task went elsewhere (to another hand), or its segment was answered with an error.
        if elsewhere := until(lambda: hands.fresh() or hands.asked.done(), 8, f"{name}: another try or an answer"):
            if elsewhere is not True:
                hands.post(elsewhere, "livepeer/transcoding-error", b"No keyframes in input", Pixels="0")
        until(hands.asked.done, 8, f"{name}: an answer")
    assert wrong == []
    assert hands.pool.orch.registrations_lost == 0
    delivered = [o for o in hands.pool.orch.outcomes if o.ok]
    assert delivered == [], "nothing of it went up"
    assert hands.pool.proxy.report() == {}, "nor was paid"


def test_an_upload_that_breaks_off_costs_only_its_own_task(hands):
    lease = hands.lease()
    kind, body = hands.good()

    def half():
        yield body[: len(body) // 2]
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        hands.client.post(
            f"https://{hands.pool.proxy.address}/transcodeResults", content=half(),
            headers={
                "Authorization": "Livepeer-Transcoder-1.0", "Credentials": hands.secret(lease), "Content-Type": kind,
                "TaskId": str(lease["task"]), "Pixels": "1", "Content-Length": str(len(body)),
            },
        )
    again = until(hands.fresh, 8, "the task going elsewhere")
    assert again["task"] != lease["task"]
    assert hands.post(again).status_code == 200
    hands.pool.whole([hands.asked.result(5)])


def h1(hands, method, path, body=None, headers=None):
    host, _, port = hands.pool.proxy.address.partition(":")
    link = http.client.HTTPSConnection(host, int(port), timeout=5, context=any_certificate())
    try:
        link.putrequest(method, path, skip_accept_encoding=True)
        for key, value in (headers or {}).items():
            link.putheader(key, value)
        try:
            link.endheaders(body)
        except OSError:
            # It closed before all was sent; what it said may still be there.
            pass
        answer = link.getresponse()
        return answer.status, answer.read()
    finally:
        link.close()


def test_sources_are_for_the_worker_that_holds_the_task(hands):
    lease = hands.lease()
    path = urllib.parse.urlsplit(lease["url"]).path
    # The worker itself took the first of three.
    for _ in range(2):
        assert h1(hands, "GET", path) == (200, hands.media["src1"].data)
    missing = h1(hands, "GET", path)
    assert missing[0] == 404
    folder = str(pathlib.PurePosixPath(path).parent)
    for other in (path[:-1], path + "x", f"{folder}/..{path}", f"{path}/..", f"{path}%00", "/nowhere", "/"):
        assert h1(hands, "GET", other)[0] == 404, other
    assert hands.post(lease).status_code == 200
    hands.asked.result(5)
    assert h1(hands, "GET", path) == missing, "all alike"


def test_http_1_takes_nothing_but_downloads(hands):
    lease = hands.lease()
    path = urllib.parse.urlsplit(lease["url"]).path
    kind, body = hands.good()
    head = {
        "Authorization": "Livepeer-Transcoder-1.0", "Credentials": hands.secret(lease), "Content-Type": kind,
        "TaskId": str(lease["task"]), "Pixels": "1", "Content-Length": str(len(body)),
    }
    assert h1(hands, "POST", "/transcodeResults", body, head)[0] in (400, 405)
    assert h1(hands, "GET", path, b"12345", {"Content-Length": "5"})[0] in (400, 405)
    both = {"Content-Length": "5", "Transfer-Encoding": "chunked"}
    assert h1(hands, "GET", path, b"0\r\n\r\n", both)[0] in (400, 405)
    assert h1(hands, "CONNECT", "example.org:443")[0] in (400, 404, 405)
    assert not hands.asked.done()
    assert hands.post(lease).status_code == 200


def test_plain_text_on_the_tls_port_is_closed(hands):
    host, _, port = hands.pool.proxy.address.partition(":")
    for hello in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
        with socket.create_connection((host, int(port)), timeout=10) as link:
            started = time.monotonic()
            link.sendall(hello)
            try:
                while link.recv(4096):
                    pass
            except ConnectionResetError:
                pass
            assert time.monotonic() - started < 8
