"""The way of segments through the pool: bytes, pixels, sessions."""
import re


def test_200_segments_over_10_sessions_with_equal_bytes_at_both_ends(pool):
    """Sources: what the gateway got against what the worker downloaded. Renditions: what the worker posted
    against what the gateway gave back. Nothing rests on an encoder being deterministic."""
    orchestrator = pool.orchestrator()
    pool.serve()
    taps = [pool.tap(), pool.tap()]
    for n, tap in enumerate(taps, 1):
        pool.worker(f"worker{n}", n, dial=tap.dial)
    pool.capacity(orchestrator, 20)
    gateway = pool.gateway_to(orchestrator)
    answers = pool.push_streams(gateway, [f"stream{n}" for n in range(10)], 20)
    assert [(a.stream, a.seq, a.error) for a in answers if not a.ok] == []
    assert len(answers) == 200
    tasks = {task: notice for tap in taps for task, notice in tap.tasks().items()}
    sources = {path: body for tap in taps for path, status, body in tap.downloads if status == 200}
    by_name = {s.path.name: s.data for s in pool.sources}
    posted = {}
    for result in (r for tap in taps for r in tap.results if r.status == 200):
        data = tasks[result.task].segData
        posted.setdefault((data.manifestId.decode(), data.seq), []).append([part for part, _ in result.parts])
    for answer in answers:
        assert list(answer.renditions.values()) in posted[answer.stream, answer.seq], "a rendition that no worker posted"
    for task, notice in tasks.items():
        path = re.sub(r"^https://[^/]+", "", notice.url)
        assert sources[path] == by_name[f"{notice.segData.seq % len(pool.sources)}.ts"], f"the source of task {task}"
    assert len({n.segData.auth_token.session_id for n in tasks.values()}) >= 10
    assert len(tasks) >= 200
