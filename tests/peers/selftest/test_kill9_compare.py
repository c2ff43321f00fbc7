"""kill9.py's comparison must find what it looks for: one good ledger, and one fault planted at a time."""
import sqlite3
import types

import pytest

import kill9
from kill9 import PIXELS, PRICE

SCHEMA = """
CREATE TABLE steps (job TEXT, task INTEGER, step TEXT);
CREATE TABLE segments (job TEXT, task INTEGER, session TEXT, sequence INTEGER, upstream_task INTEGER,
  encoded_credited INTEGER, gross TEXT);
CREATE TABLE entries (account TEXT, amount TEXT);
"""
GROSS = PIXELS * PRICE


def good(path):
    """Job a was posted; b was cut off by a kill after the worker's 200; c failed."""
    db = sqlite3.connect(path)
    db.executescript(SCHEMA)
    steps = [("a", 11, "assigned"), ("a", 11, "resulted"), ("a", 11, "posted"), ("b", 12, "assigned"),
             ("b", 12, "resulted"), ("b", 12, "in_doubt"), ("c", 13, "assigned"), ("c", 13, "voided")]
    db.executemany("INSERT INTO steps VALUES (?, ?, ?)", steps)
    segments = [("a", 11, "s", 0, 0, PIXELS, str(GROSS)), ("b", 12, "s", 1, 1, PIXELS, str(GROSS))]
    db.executemany("INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?)", segments)
    entries = [("receivable:o", GROSS), ("payable:w", -GROSS * 3 // 4), ("commission", -GROSS // 4)]
    db.executemany("INSERT INTO entries VALUES (?, ?)", [(a, str(n)) for a, n in entries])
    db.commit()
    return db


def peers():
    posted = [{"who": "w", "task": t, "session": "s", "seq": n, "status": 200, "digests": ["d"]} for n, t in ((0, 11), (1, 12))]
    worker = types.SimpleNamespace(events=lambda kind: posted)
    accepted = [types.SimpleNamespace(ok=True, task=n) for n in (0, 1)]
    posts = [{"task": str(n), "status": 200, "kind": "multipart/mixed"} for n in (0, 1)]
    return types.SimpleNamespace(outcomes=accepted, posts=posts), [worker]


FAULTS = {
    "a result answered 200 is not there": "DELETE FROM segments WHERE task = 12",
    "a result answered 200 came to nothing": "UPDATE steps SET step = 'voided' WHERE step = 'in_doubt'",
    "one TaskId is paid to two jobs":
        "INSERT INTO segments SELECT 'd', 14, session, sequence, upstream_task, encoded_credited, gross FROM segments "
        "WHERE task = 11; INSERT INTO steps VALUES ('d', 14, 'posted')",
    "paid, but the orchestrator never had it": "UPDATE segments SET upstream_task = 9 WHERE task = 11",
    "credited more than there is": "UPDATE segments SET encoded_credited = encoded_credited + 1 WHERE task = 11",
    "a wei too much": "UPDATE entries SET amount = '1' WHERE account = 'commission'",
    "entries of a posting are missing": "DELETE FROM entries",
}


def test_a_good_ledger_has_no_fault(tmp_path):
    good(tmp_path / "l.db").close()
    figures, faults = kill9.compare(kill9.Books(tmp_path / "l.db"), *peers())
    assert faults == []
    assert (figures["acknowledged"], figures["accepted"], figures["posted"], figures["in_doubt"]) == (2, 2, 1, 1)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(tmp_path, fault):
    db = good(tmp_path / "l.db")
    db.executescript(FAULTS[fault])
    db.close()
    assert kill9.compare(kill9.Books(tmp_path / "l.db"), *peers())[1] != []


def test_a_result_posted_upstream_twice_is_found(tmp_path):
    good(tmp_path / "l.db").close()
    orchestrator, workers = peers()
    orchestrator.posts.append(orchestrator.posts[0])
    assert kill9.compare(kill9.Books(tmp_path / "l.db"), orchestrator, workers)[1] != []
