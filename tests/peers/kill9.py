"""kill -9 of `serve` at random instants under load; then every peer's word is compared with the ledger.

A result is acknowledged when a transcoder read 200, and accepted when the orchestrator took it. At the end:
* every acknowledged result is in the ledger once, as posted or in doubt;
* every accepted one as well, and posted at most once;
* nothing is posted that the orchestrator did not answer with 200, nor sent to it twice;
* the pixels are those of the media, the sums of the accounts those of the posted segments;
* tests/ledger_audit.py (hashes, sums, splits) and `ledger verify` agree.
"""
import argparse
import asyncio
import collections
import json
import pathlib
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

import harness
import peer_media
from harness import POOL_SECRET, PRICE, OrchestratorThread, Proxy, Worker, address, until
from orchestrator import Refused

AUDIT = harness.ROOT / "tests" / "ledger_audit.py"
PIXELS = sum(peer_media.pixels(*size) for size in peer_media.SIZES)
ENDS = ("posted", "in_doubt", "voided")


class Load:
    """Keeps so many segments under way; what a kill cut off waits out its budget aside."""

    def __init__(self, thread, lanes):
        self.thread, self.lanes = thread, lanes
        self.generation, self.stopped = 0, False
        self.tasks = set()

    def renew(self):
        self.generation += 1
        self.thread.call(self._renew())

    async def _renew(self):
        for lane in range(self.lanes):
            task = asyncio.ensure_future(self._lane(self.generation, lane))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _lane(self, generation, lane):
        orchestrator = self.thread.orchestrator
        session, n = f"g{generation}-{lane}", lane
        while generation == self.generation and not self.stopped:
            source = orchestrator.sources[n % len(orchestrator.sources)]
            n += 1
            try:
                outcome = await orchestrator.segment(session, source)
            except Refused:
                continue
            if not outcome.ok:
                await asyncio.sleep(0.02)
        await orchestrator.end_session(session)

    def finish(self):
        self.stopped = True
        until(lambda: not self.tasks, 30, "the end of what was under way")


def torment(proxy, thread, workers, kills, dice):
    load = Load(thread, lanes=6)
    orchestrator = thread.orchestrator
    for n in range(kills):
        until(lambda: orchestrator.capacity() > 0, 30, f"a registration after kill {n}")
        load.renew()
        # At once, in mid-work, or after a while.
        time.sleep(dice.choice((dice.uniform(0, 0.05), dice.uniform(0, 0.3), dice.uniform(0.2, 0.8))))
        proxy.stop(signal.SIGKILL)
        for worker in workers:
            assert worker.process.poll() is None, f"{worker.name} ended: {worker.retired()}"
        proxy.start()
    until(lambda: orchestrator.capacity() > 0, 30, "a registration after the last kill")
    load.renew()
    time.sleep(1.0)
    load.finish()


# === the books against the peers ===


class Books:
    def __init__(self, path):
        self.db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        self.db.row_factory = sqlite3.Row
        self.steps = collections.defaultdict(collections.Counter)
        for job, task, step in self.db.execute("SELECT job, task, step FROM steps"):
            self.steps[job, task][step] += 1
        self.by_task = {}
        for row in self.db.execute("SELECT * FROM segments"):
            assert row["task"] not in self.by_task, f"task {row['task']} is there twice"
            self.by_task[row["task"]] = row

    def ends(self, row):
        return {end: count for end in ENDS if (count := self.steps[row["job"], row["task"]][end])}

    def balance(self, prefix):
        rows = self.db.execute("SELECT amount FROM entries WHERE account LIKE ?", (prefix + "%",))
        return abs(sum(int(r[0]) for r in rows))


def compare(books, orchestrator, workers):
    """Every fault in words."""
    faults = []
    acknowledged = [e for w in workers for e in w.events("posted") if e["status"] == 200 and e["digests"]]
    for e in acknowledged:
        row = books.by_task.get(e["task"])
        if row is None:
            faults.append(f"lost: {e['who']} read 200 for task {e['task']}, which is not in the ledger")
            continue
        ends = books.ends(row)
        if not ends.keys() & {"posted", "in_doubt"}:
            faults.append(f"lost: task {e['task']} was answered 200 and ended as {ends}")
        if (row["session"], row["sequence"]) != (e["session"], e["seq"]):
            faults.append(f"task {e['task']} is another segment in the ledger")
    of_upstream = collections.defaultdict(list)
    for row in books.by_task.values():
        of_upstream[row["upstream_task"]].append(row)
    accepted = [o for o in orchestrator.outcomes if o.ok]
    for o in accepted:
        ends = [books.ends(row) for row in of_upstream[o.task]]
        if sum(e.get("posted", 0) for e in ends) > 1:
            faults.append(f"doubled: TaskId {o.task} is posted more than once")
        if not any(e.keys() & {"posted", "in_doubt"} for e in ends):
            faults.append(f"lost: the orchestrator took TaskId {o.task}, the ledger says {ends}")
    answered = collections.Counter(
        int(p["task"]) for p in orchestrator.posts if p.get("status") == 200 and p["kind"] == "multipart/mixed"
    )
    faults += [f"TaskId {task} was posted to the orchestrator {n} times" for task, n in answered.items() if n > 1]
    posted = [row for row in books.by_task.values() if books.ends(row).get("posted")]
    for row in posted:
        if not answered[row["upstream_task"]]:
            faults.append(f"made up: TaskId {row['upstream_task']} is paid, the orchestrator never had it")
        if row["encoded_credited"] != PIXELS or int(row["gross"]) != PIXELS * PRICE:
            faults.append(f"TaskId {row['upstream_task']}: {row['encoded_credited']} pixels, {row['gross']} wei")
    gross = len(posted) * PIXELS * PRICE
    for account, want in (("receivable:", gross), ("payable:", gross * 75 // 100), ("commission", gross * 25 // 100)):
        if (have := books.balance(account)) != want:
            faults.append(f"account {account}: {have} wei, the posted segments say {want}")
    in_doubt = sum(1 for row in books.by_task.values() if books.ends(row).get("in_doubt"))
    figures = {
        "acknowledged": len(acknowledged), "accepted": len(accepted), "posted": len(posted), "in_doubt": in_doubt,
        "lost": sum(f.startswith("lost") for f in faults), "doubled": sum(f.startswith("doubled") for f in faults),
    }
    return figures, faults


def run(folder, kills, seed):
    """(figures, faults)."""
    dice = random.Random(seed)
    # A short budget: what a kill cut off shall not hold the load up.
    thread = OrchestratorThread(least_budget=3.0)
    orchestrator = thread.start()
    proxy = Proxy(folder, [orchestrator], settle="50 ms").start()
    workers = [
        Worker(folder, proxy.address, f"{POOL_SECRET}:{address(n)}", f"t{n}", "--seconds", "0.03") for n in (1, 2)
    ]
    try:
        torment(proxy, thread, workers, kills, dice)
        code = proxy.stop()
        verified = proxy.verify()
        figures, faults = compare(Books(proxy.ledger), orchestrator, workers)
        figures |= {"kills": kills, "seed": seed}
        if code != 0:
            faults.append(f"serve ended with {code} on SIGTERM")
        if not verified["balanced"]:
            faults.append(f"ledger verify: {verified}")
        if figures["acknowledged"] < kills or figures["posted"] == 0:
            faults.append("too little went through for this to show anything")
        if any(w.retired() for w in workers):
            faults.append("a worker was retired")
        if AUDIT.exists():
            audit = subprocess.run([sys.executable, AUDIT, proxy.ledger], capture_output=True, text=True, timeout=120)
            if audit.returncode != 0:
                faults.append(f"ledger_audit.py: {audit.stdout[-2000:]}{audit.stderr[-2000:]}")
        else:
            faults.append(f"{AUDIT.name} is not there")
        return figures, faults
    finally:
        for worker in workers:
            worker.stop()
        proxy.stop(signal.SIGKILL)
        thread.close()


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--kills", type=int, default=100)
    parse.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parse.add_argument("--keep", type=pathlib.Path, help="a folder for ledger and logs (else a temporary one)")
    args = parse.parse_args()
    print(f"seed {args.seed}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as temporary:
        figures, faults = run(args.keep or temporary, args.kills, args.seed)
    print(json.dumps(figures))
    for fault in faults[:50]:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
