"""A request that reads eight keys, one leading to the next, of users nobody has seen."""

from __future__ import annotations

import contextlib
import itertools
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator

import redis

from benchmarks import chains
from benchmarks.contest import Session
from benchmarks.records import Check, at_least, at_most, field, row

NAME = "prediction_chains"
TITLE = "Prediction: requests of eight dependent reads"
METHOD = (
    "A session's value holds the number of its user, the keys of seven more reads are made of it. "
    "Half of the requests are of users nobody has seen, half of 2 000 who come again (Zipf); the "
    "server is a round trip of 1 ms away (a relay). After as many requests again the application "
    "uses other templates and a hash instead of JSON. Reads that wait are counted over 100 more "
    "requests of strangers at the end of each half; a half counts as learned from where ten "
    "strangers in a row take 3 round trips or less. Nothing is known at the start. A hit is the "
    "median of seven processes with and seven without, in turn."
)
CONTENDERS = ()
COLUMNS = (
    ("", "contender", ""),
    ("reads a stranger waits for", "waits", "n"),
    ("a stranger's request, in round trips", "stranger_round_trips", "n"),
    ("a returning user's", "returning_round_trips", "n"),
    ("learned after requests", "learned_after", "n"),
    ("the same after the change", "relearned_after", "n"),
    ("sent ahead", "issued", "n"),
    ("asked for", "precision", "%"),
    ("served from the L1", "hit_rate", "%"),
    ("ns a hit", "ns_a_hit", "n"),
    ("bytes learned", "learned_bytes", "n"),
)
DELAY_MS = 0.5
REQUESTS, QUICK_REQUESTS = 2_000, 300
HIT_PROCESSES = 7
NAMES = {"process": "in process", "proxy": "through the proxy"}


def run(session: Session) -> dict:
    """One row a place and setting."""
    requests = QUICK_REQUESTS if session.quick else REQUESTS
    with redis.Redis(port=session.server.port) as client:
        chains.fill(client, requests)
    with _away(session.server.port) as port:
        cases = itertools.product(NAMES, ("off", "on"))
        rows = [_measure(port, *case, requests) for case in cases]
    hits = _ns_a_hit(session.server.port, 1 if session.quick else HIT_PROCESSES)
    for prefetch, ns in hits.items():
        if found := row(rows, f"in process, prefetch {prefetch}"):
            found["ns_a_hit"] = ns
    return {"rows": rows}


def _ns_a_hit(port: int, processes: int) -> dict[str, float]:
    """Processes with and without take turns: what differs between two is mostly where they lie."""
    rounds: dict[str, list[float]] = {"off": [], "on": []}
    for _ in range(processes):
        for prefetch, found in rounds.items():
            command = [sys.executable, "-m", "benchmarks.chains", "--port", str(port)]
            command += ["--place", "process", "--prefetch", prefetch, "--hits-only"]
            done = subprocess.run(command, stdout=subprocess.PIPE, timeout=600, check=True)
            found.append(json.loads(done.stdout)["ns_a_hit"])
    return {prefetch: statistics.median(found) for prefetch, found in rounds.items()}


@contextlib.contextmanager
def _away(port: int) -> Iterator[int]:
    command = [sys.executable, "-m", "cachee.bench.relay", "tcp://127.0.0.1:0"]
    command += [f"tcp://127.0.0.1:{port}", str(DELAY_MS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline().rpartition(":")[2])
        finally:
            process.terminate()


def _measure(port: int, place: str, prefetch: str, requests: int) -> dict:
    contender = f"{NAMES[place]}, prefetch {prefetch}"
    command = [sys.executable, "-m", "benchmarks.chains", "--port", str(port)]
    command += ["--place", place, "--prefetch", prefetch, "--requests", str(requests)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        return {"contender": contender, "failed": done.stderr.strip().splitlines()[-1]}
    found = json.loads(done.stdout)
    first, second = found.pop("first"), found.pop("second")
    return {
        "contender": contender,
        **first,
        "relearned_after": second["learned_after"],
        "waits_after_change": second["waits"],
        **found,
    }


def checks(result: dict) -> list[Check]:
    """The bars of a learned request."""
    rows = result["rows"]
    found = []
    for name in NAMES.values():
        on = row(rows, f"{name}, prefetch on")
        found += [
            at_most(f"{name}: reads a stranger waits for", field(on, "waits"), 2),
            at_most(f"{name}: the same after the change", field(on, "waits_after_change"), 2),
            at_least(f"{name}: of those sent ahead, asked for", field(on, "precision"), 0.85),
            at_most(f"{name}: learned after requests", field(on, "learned_after"), 2_000),
            at_most(f"{name}: relearned after requests", field(on, "relearned_after"), 5_000),
        ]
    on, off = row(rows, "in process, prefetch on"), row(rows, "in process, prefetch off")
    if on and off:
        found.append(
            at_most("a hit with prediction on over off", on["ns_a_hit"] / off["ns_a_hit"], 1.1, "x")
        )
    return found
