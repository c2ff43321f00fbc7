#!/usr/bin/env python3
"""Independent audit of a ledger: Python's standard library only, nothing shared with the proxy.

    ledger_audit.py LEDGER.db [--expect FILE.jsonl] [--json]

Recomputes every hash, every sum and every split from the recorded facts. With --expect, each
line of FILE is what somebody outside wrote down of one result:

    {"job": "01J..."}   or   {"upstream_task": 7, "session": "s1"}
    and any of  "task", "worker", "orchestrator", "epoch",  and  "accepted": true | false

"accepted": true  - the orchestrator took it: it must be there exactly once, posted or in doubt.
"accepted": false - it was told no: it must not be posted.
absent            - the worker got its 200: it must be there exactly once, in any state but lost.

Ends with 0 when all is well, 1 with one line a fault, 2 when the file cannot be read.
The encoding that is hashed is described in src/state/store/ledger/schema.rs.
"""
import argparse
import collections
import hashlib
import json
import pathlib
import sqlite3
import sys

FACTS = """job task at_ms orchestrator epoch upstream_task session sequence worker address profiles
duration_ms response_ms real_time_milli decoded_reported decoded_computed encoded_reported
encoded_computed encoded_credited bytes_in bytes_out price_wei price_units commission_bp gross
commission worker_share rounding""".split()
AI_FACTS = """job task at_ms orchestrator epoch upstream_task session worker address pipeline model door
unit units prompt_tokens made_tokens streamed first_byte_ms response_ms bytes_in bytes_out price_wei
price_units commission_bp gross commission worker_share rounding""".split()
# What a job of each pipeline is charged by.
UNITS = {
    "text-to-image": "pixels", "image-to-image": "pixels", "image-to-video": "pixels", "upscale": "pixels",
    "segment-anything-2": "pixels", "image-to-text": "pixels", "live-video-to-video": "pixels",
    "audio-to-text": "ms of audio", "llm": "tokens", "text-to-speech": "1/1000 characters",
    "byoc": "seconds", "app": "seconds",
}
DOORS = {"grpc", "runner-api", "byoc", "live"}
MOST = 2**256


def canon(fields):
    """Netstrings; NULL is `~`."""
    out = bytearray()
    for field in fields:
        if field is None:
            out += b"~"
            continue
        if isinstance(field, str):
            field = field.encode()
        elif isinstance(field, int):
            field = b"%d" % field
        out += b"%d:%s," % (len(field), field)
    return hashlib.sha256(bytes(out)).digest()


def amount(text):
    value = int(text)
    if str(value) != text or abs(value) >= MOST:
        raise ValueError(f"`{text}` is not an amount in its one right spelling")
    return value


class Audit:
    def __init__(self, db):
        self.db, self.faults = db, []
        self.counts = collections.Counter()
        # `works` holds segments and AI jobs alike.
        self.assigned, self.works, self.states = {}, {}, {}

    def fault(self, text):
        self.faults.append(text)

    def run(self, version):
        self.read_steps()
        self.read_works(version)
        self.read_entries()
        self.match()

    def read_steps(self):
        self.steps = collections.defaultdict(dict)
        self.assigned = {}
        self.order = {}
        read = "SELECT seq, job, task, step, at_ms, worker, orchestrator, epoch, session, upstream_task FROM steps"
        for seq, job, task, step, at_ms, *told in self.db.execute(read + " ORDER BY seq"):
            self.counts["steps"] += 1
            if step in self.steps[job, task]:
                self.fault(f"job {job} task {task}: step {step} is there twice")
            self.steps[job, task][step] = at_ms
            self.order[job, task, step] = seq
            if step == "assigned":
                self.assigned[job, task] = dict(zip("worker orchestrator epoch session upstream_task".split(), told))

    def read_works(self, version):
        for fact in self.read_facts("segments", FACTS, []):
            found = fact["encoded_computed"]
            least = fact["encoded_reported"] if found is None else min(found, fact["encoded_reported"])
            if not 0 <= fact["encoded_credited"] <= least:
                self.fault(f"job {fact['job']}: {fact['encoded_credited']} pixels credited, at most {least} are due")
            if fact["real_time_milli"] != fact["duration_ms"] * 1000 // max(fact["response_ms"], 1):
                self.fault(f"job {fact['job']}: the real-time ratio is not what its times give")
            self.check_split(fact, fact["encoded_credited"])
        # Not there before schema 2.
        for fact in self.read_facts("ai_jobs", AI_FACTS, ["ai_jobs"]) if version > 1 else ():
            if UNITS.get(fact["pipeline"]) != fact["unit"] or fact["units"] < 0:
                self.fault(f"job {fact['job']}: {fact['units']} {fact['unit']} of {fact['pipeline']} make no sense")
            if fact["door"] not in DOORS or fact["streamed"] not in (0, 1):
                self.fault(f"job {fact['job']}: door {fact['door']} or streamed {fact['streamed']} make no sense")
            self.check_split(fact, fact["units"])

    def read_facts(self, table, names, prefix):
        for *row, digest in self.db.execute(f"SELECT {', '.join(names)}, digest FROM {table}"):
            fact = dict(zip(names, row))
            fact["digest"] = digest
            key = fact["job"], fact["task"]
            if key in self.works:
                self.fault(f"job {key[0]} task {key[1]}: its facts are there twice")
            self.works[key] = fact
            self.counts[table] += 1
            if canon(prefix + row) != digest:
                self.fault(f"job {key[0]} task {key[1]}: the facts do not fit their digest")
            told = self.assigned.get(key)
            if told is None or any(fact[name] != told[name] for name in told):
                self.fault(f"job {key[0]} task {key[1]}: the facts differ from the assignment")
            yield fact

    def check_split(self, fact, charged):
        bp, units = fact["commission_bp"], amount(fact["price_units"])
        if not 0 <= bp <= 10_000 or units < 1:
            self.fault(f"job {fact['job']}: commission {bp} or price units {units} make no sense")
            return
        gross = charged * amount(fact["price_wei"]) // units
        pool, share = gross * bp // 10_000, gross * (10_000 - bp) // 10_000
        due = {"gross": gross, "commission": pool, "worker_share": share, "rounding": gross - pool - share}
        for name, value in due.items():
            if amount(fact[name]) != value:
                self.fault(f"job {fact['job']}: {name} is {fact[name]}, its facts give {value}")

    def read_entries(self):
        self.balances = collections.Counter()
        self.paid = collections.defaultdict(dict)
        before, number, keys = bytes(32), 0, set()
        read = "SELECT seq, key, job, at_ms, account, amount, facts, prev, hash FROM entries ORDER BY seq"
        for seq, key, job, at_ms, account, wei, facts, prev, stored in self.db.execute(read):
            number += 1
            if seq != number:
                self.fault(f"entry {number} is missing, {seq} comes instead")
                number = seq
            if prev != before:
                self.fault(f"entry {seq} does not hold the hash of the one before")
            if canon([seq, key, job, at_ms, account, wei, facts, prev]) != stored:
                self.fault(f"entry {seq} does not fit its hash")
            if key in keys:
                self.fault(f"entry {seq}: the key {key} is there twice")
            keys.add(key)
            before = stored
            self.balances[account] += amount(wei)
            self.paid[job][key] = (account, amount(wei), facts, at_ms)
        self.counts["entries"] = number
        if sum(self.balances.values()) != 0:
            self.fault(f"all accounts together hold {sum(self.balances.values())} wei")

    def match(self):
        """Posted attempts against entries, both ways; the state of each attempt."""
        posted = collections.defaultdict(list)
        pending = set(self.db.execute("SELECT job, task FROM pending"))
        self.states = {}
        for key, steps in self.steps.items():
            ends = sorted((self.order[(*key, s)], s) for s in ("posted", "voided", "in_doubt") if s in steps)
            self.states[key] = ends[-1][1] if ends else ("resulted" if "resulted" in steps else "assigned")
            self.counts[self.states[key]] += 1
            if "posted" in steps:
                posted[key[0]].append(key[1])
            if ("resulted" in steps) != (key in self.works):
                self.fault(f"job {key[0]} task {key[1]}: result and facts do not come together")
            if "assigned" in steps and not ends and key not in pending:
                self.fault(f"job {key[0]} task {key[1]} has no end and is not under way")
            if "posted" in steps and "voided" in steps:
                self.fault(f"job {key[0]} task {key[1]} is posted and voided")
        for job, tasks in posted.items():
            if len(tasks) != 1:
                self.fault(f"job {job} is posted {len(tasks)} times")
            fact = self.works.get((job, tasks[0]))
            if fact is None:
                self.fault(f"job {job} is posted without facts")
                continue
            due = {
                "receivable": ("receivable:" + fact["orchestrator"], amount(fact["gross"])),
                "payable": ("payable:" + fact["worker"], -amount(fact["worker_share"])),
                "commission": ("commission", -amount(fact["commission"])),
                "rounding": ("rounding", -amount(fact["rounding"])),
            }
            at_ms = self.steps[job, tasks[0]]["posted"]
            due = {f"post/{job}/{k}": (*v, fact["digest"], at_ms) for k, v in due.items() if v[1] != 0}
            if self.paid.get(job, {}) != due:
                self.fault(f"job {job}: its entries are not what its facts give")
        for job, lines in self.paid.items():
            if job not in posted:
                self.fault(f"job {job} has entries, but was never posted")
            if sum(line[1] for line in lines.values()) != 0:
                self.fault(f"job {job}: its entries do not sum to zero")

    def compare(self, lines):
        """What others wrote down against what is recorded."""
        by_job, by_name = collections.defaultdict(list), collections.defaultdict(list)
        for key, told in self.assigned.items():
            by_job[key[0]].append(key)
            by_name[told["upstream_task"], told["session"]].append(key)
        for number, line in enumerate(lines, 1):
            told = json.loads(line)
            if "job" in told:
                keys = by_job[told["job"]]
            else:
                keys = by_name[told["upstream_task"], told["session"]]
            for name in ("worker", "orchestrator", "epoch"):
                if name in told:
                    keys = [key for key in keys if self.assigned[key][name] == told[name]]
            if "task" in told:
                keys = [key for key in keys if key[1] == told["task"]]
            self.counts["expected"] += 1
            states = collections.Counter(self.states[key] for key in keys)
            whole = states["posted"] + states["in_doubt"]
            accepted = told.get("accepted")
            if accepted is True and whole + states["resulted"] != 1:
                self.fault(f"line {number}: accepted, but {dict(states) or 'not in the ledger'}: {line.strip()}")
            elif accepted is False and states["posted"]:
                self.fault(f"line {number}: refused, but posted: {line.strip()}")
            elif accepted is None and sum(key in self.works for key in keys) != 1:
                self.fault(f"line {number}: acknowledged, but {dict(states) or 'not in the ledger'}: {line.strip()}")


def main():
    parser = argparse.ArgumentParser(description="Audits a ledger without the proxy's code.")
    parser.add_argument("ledger", type=pathlib.Path)
    parser.add_argument("--expect", type=pathlib.Path)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if not args.ledger.is_file():
        print(f"{args.ledger}: there is no such file", file=sys.stderr)
        return 2
    db = sqlite3.connect(f"file:{args.ledger}?mode=ro", uri=True, isolation_level=None)
    audit = Audit(db)
    try:
        db.execute("PRAGMA query_only = ON")
        db.execute("BEGIN")
        # Made, and killed before its first transaction: nothing is there yet, and nothing may be expected.
        begun = db.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,)
        version = None
        if begun:
            version, what = db.execute("SELECT max(version), what FROM schema_version").fetchone()
            if what != "ledger" or version not in (1, 2):
                print(f"{args.ledger}: not a ledger of schema 1 or 2", file=sys.stderr)
                return 2
        damage = [row[0] for row in db.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]
        for line in damage:
            audit.fault(f"the file is damaged: {line}")
        if begun:
            audit.run(version)
        if args.expect:
            with args.expect.open() as lines:
                audit.compare(lines)
    except (sqlite3.Error, ValueError, TypeError) as error:
        audit.fault(f"the ledger cannot be read to its end: {error}")
    told = dict(audit.counts, faults=len(audit.faults))
    if args.json:
        balances = {name: str(sum) for name, sum in sorted(getattr(audit, "balances", {}).items())}
        print(json.dumps(dict(told, balances=balances, texts=audit.faults[:200])))
    else:
        for text in audit.faults[:200]:
            print("FAULT", text)
        print(" ".join(f"{name}={count}" for name, count in sorted(told.items())))
    return 1 if audit.faults else 0


if __name__ == "__main__":
    sys.exit(main())
