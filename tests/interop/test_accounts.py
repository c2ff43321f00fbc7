"""What the orchestrator counted, what we counted, what was paid."""
import media
from harness import PRICE, until


def test_pixels_equal_what_the_orchestrator_counted(pool):
    """Four countings: the worker's claim on the wire, the orchestrator's own metric, our ledger, and the frames
    of what the gateway gave back, decoded. (Fees: off-chain a stock orchestrator reckons none; pixels are their base.)"""
    orchestrator = pool.orchestrator()
    pool.serve()
    tap = pool.tap()
    pool.worker("worker", dial=tap.dial)
    pool.capacity(orchestrator, 10)
    gateway = pool.gateway_to(orchestrator, profiles="P144p30fps16x9,P240p30fps16x9")
    answers = pool.push_streams(gateway, ["one", "two"], 6)
    assert [(a.stream, a.seq, a.error) for a in answers if not a.ok] == []
    rows = pool.paid(12)
    (row,) = rows.values()
    claimed = sum(pixels for result in tap.results for _, pixels in result.parts)
    assert row["segments"] == 12 and row["pixels_credited"] == claimed
    assert orchestrator.pixels() == claimed
    decoded = 0
    for n, data in enumerate(data for a in answers for data in a.renditions.values()):
        path = pool.folder / f"{n}.ts"
        path.write_bytes(data)
        decoded += media.pixels(path)[1]
    assert decoded == claimed
    assert int(row["gross_wei"]) == claimed * PRICE
    assert int(row["worker_wei"]) == claimed * PRICE * 75 // 100


def test_the_decoded_pixels_reach_the_orchestrator(pool):
    """The Pixels header of the whole result: the source's, as the worker counted them."""
    orchestrator = pool.orchestrator()
    pool.serve()
    tap = pool.tap()
    pool.worker("worker", dial=tap.dial)
    pool.capacity(orchestrator, 10)
    gateway = pool.gateway_to(orchestrator)
    assert gateway.push("stream", 0, pool.sources[0]).ok
    (result,) = tap.results
    frames, pixels, _ = media.pixels(pool.sources[0].path)
    assert frames == media.RATE * media.SECONDS
    assert int(result.headers["pixels"]) == pixels
    until(lambda: orchestrator.metric("livepeer_segment_transcoded_total") == 1, 5, "its own count")
