"""Prediction by the order of the last time, on recorded traces: what it gains and what it costs."""

from __future__ import annotations

import array
import itertools
import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks import records
from benchmarks.contest import Session
from benchmarks.records import Check, at_least, at_most
from cachee import _trace_file
from cachee._core import Trace

NAME = "prediction_traces"
TITLE = "Prediction: recorded traces at equal memory"
METHOD = (
    "`Trace.compare`, what `cachee simulate` shows: the real shard and the real prediction, the "
    "same bytes for both, one client unless said, trained on line, 0.2 ms to the server. An entry "
    "takes its value and 160 B. Lost are misses of what the cache without prediction had (its "
    "memory, and what was loaded in vain), polluted those of what had to go for a key that nobody "
    "had asked for until then; reads are over those without prediction. Measured "
    "where `CACHEE_BENCH_TRACES` names the folder of the traces, else kept from an earlier run."
)
CONTENDERS = ()
COLUMNS = (
    ("trace", "contender", ""),
    ("setting", "workload", ""),
    ("LRU", "lru", "%"),
    ("cachee", "plain", "%"),
    ("predicting", "predicted", "%"),
    ("and on its way", "joined", "%"),
    ("Belady", "belady", "%"),
    ("infinite", "floor", "%"),
    ("sent ahead, asked for", "precision", "%"),
    ("misses saved", "coverage", "%"),
    ("late", "late", "%"),
    ("lost", "lost", "%"),
    ("polluted", "polluted", "%"),
    ("wasted MB", "wasted_mb", "n"),
    ("reads", "traffic", "n"),
    ("ns an event", "ns_an_event", "n"),
    ("memory of it", "share", "%"),
)
KEPT = records.RESULTS / "prediction_traces_kept.json"
PEERS = records.RESULTS / "prediction_peers.json"
"""Of predictors that cannot be run here: their published and once measured figures."""
TRACES = (
    "orm-night",
    "scarab-recs",
    "arc-OLTP",
    "lirs-sprite",
    "web12",
    "domains",
    "lirs-2_pools",
)
CONTROLS = ("web12", "domains", "lirs-2_pools", "orm-night shuffled", "Zipf 0.99", "uniform")
SIZES, VALUES = (0.01, 0.1, 0.25, 0.5), (256, 1024, 4096)
REFERENCE = 0.017
"""The bytes of a cache of 1 % of the keys together with tables of ten keys an entry."""
ROUND_TRIPS_US, CLIENTS = (1_000, 5_000), (8, 64)
THINK_US, ROUND_TRIP_US = 20, 200
SHUFFLED_REQUESTS = 2_000_000
SYNTHETIC_REQUESTS, SYNTHETIC_KEYS = 1_000_000, 100_000


class Case(NamedTuple):
    """Memory as a part of what all keys would take, bytes a value, round trip, clients."""

    size: float
    value: int
    round_trip_us: int = ROUND_TRIP_US
    clients: int = 1


def run(session: Session) -> dict:
    """One row a trace and setting."""
    folder = os.environ.get("CACHEE_BENCH_TRACES")
    if folder is None or session.quick:
        rows = json.loads(KEPT.read_text()) if KEPT.exists() else []
        return {"rows": rows + _peers()}
    rows = []
    for name, trace in _traces(Path(folder)):
        rows += _rows(name, trace)
    KEPT.write_text(json.dumps(rows, indent=1) + "\n")
    return {"rows": rows + _peers()}


def _peers() -> list[dict]:
    peers = json.loads(PEERS.read_text())
    return [row | {"note": peers["note"]} for row in peers["rows"]]


def _traces(folder: Path) -> Iterator[tuple[str, Trace]]:
    draw = random.Random(1)
    for name in TRACES:
        yield name, _trace_file.read(folder / f"{name}.u64.zst")
    whole = array.array("Q", _plain(folder / "orm-night.u64.zst"))[:SHUFFLED_REQUESTS]
    draw.shuffle(whole)
    yield "orm-night shuffled", Trace(whole.tobytes())
    keys = range(SYNTHETIC_KEYS)
    weights = list(itertools.accumulate(1 / (rank + 1) ** 0.99 for rank in keys))
    zipf = draw.choices(keys, cum_weights=weights, k=SYNTHETIC_REQUESTS)
    yield "Zipf 0.99", Trace(array.array("Q", zipf).tobytes())
    uniform = draw.choices(keys, k=SYNTHETIC_REQUESTS)
    yield "uniform", Trace(array.array("Q", uniform).tobytes())


def _plain(path: Path) -> bytes:
    import zstandard

    with path.open("rb") as file:
        return zstandard.ZstdDecompressor().stream_reader(file).read()


def _rows(name: str, trace: Trace) -> list[dict]:
    cases = [Case(size, value) for size in SIZES for value in VALUES]
    cases += [Case(REFERENCE, 1024)] if name == "orm-night" else []
    cases += [Case(0.1, 1024, round_trip_us=each) for each in ROUND_TRIPS_US]
    cases += [Case(size, 1024, clients=each) for each in CLIENTS for size in (0.01, 0.1)]
    bounds: dict[int, tuple[float, float]] = {}
    return [_row(name, trace, case, bounds) for case in cases]


def _row(name: str, trace: Trace, case: Case, bounds: dict[int, tuple[float, float]]) -> dict:
    size, value, round_trip_us, clients = case
    requests, entries = len(trace), max(int(trace.keys * size), 1)
    if entries not in bounds:
        hits = trace.lru_hits(entries), trace.belady_hits(entries)
        bounds[entries] = (hits[0] / requests, hits[1] / requests)
    setup = {
        "capacity_bytes": entries * (value + Trace.ENTRY_OVERHEAD_BYTES),
        "value_bytes": value,
        "round_trip_us": round_trip_us,
        "think_us": THINK_US,
        "clients": clients,
    }
    start = time.perf_counter()
    trace.simulate(prediction=False, **setup)
    middle = time.perf_counter()
    trace.simulate(prediction=True, **setup)
    took_s = (time.perf_counter() - middle) - (middle - start)
    plain, ahead = trace.compare(**setup)
    text = f"{100 * size:g} % of keys, {value} B"
    text += f", {round_trip_us / 1000:g} ms" if round_trip_us != ROUND_TRIP_US else ""
    text += f", {clients} clients" if clients > 1 else ""
    issued = ahead["issued"]
    return {
        "contender": name,
        "workload": text,
        "size": size,
        "value_bytes": value,
        "clients": clients,
        "round_trip_us": round_trip_us,
        "lru": bounds[entries][0],
        "plain": plain["hits"] / requests,
        "predicted": ahead["hits"] / requests,
        "joined": ahead["joined"] / requests,
        "belady": bounds[entries][1],
        "floor": 1 - trace.keys / requests,
        "precision": ahead["used"] / issued if issued else None,
        "coverage": (plain["misses"] - ahead["misses"]) / max(plain["misses"], 1),
        "late": ahead["joined"] / issued if issued else None,
        "lost": ahead["lost"] / requests,
        "polluted": ahead["polluted"] / requests,
        "wasted_mb": (issued - ahead["used"]) * value / 1e6,
        "traffic": (ahead["misses"] + issued) / max(plain["misses"], 1),
        "ns_an_event": max(took_s, 0) * 1e9 / max(ahead["events"], 1),
        "share": ahead["prediction_bytes"] / setup["capacity_bytes"],
    }


def checks(result: dict) -> list[Check]:
    """The reference at equal memory, and that controls lose nothing."""
    rows = [row for row in result["rows"] if "trace" not in row]

    def one(name: str, size: float, value: int = 1024) -> dict | None:
        for found in rows:
            setting = (found["contender"], found["size"], found["value_bytes"], found["clients"])
            if setting == (name, size, value, 1) and found["round_trip_us"] == ROUND_TRIP_US:
                return found
        return None

    found = []
    reference = one("orm-night", REFERENCE)
    if reference:
        gained = reference["predicted"] + reference["joined"]
        found.append(
            at_least("orm-night, 1.7 % of keys, 1 KB: hits", reference["predicted"], 0.899)
        )
        found.append(at_least("orm-night, 1.7 % of keys, 1 KB: hits and joins", gained, 0.923))
    for peer in result["rows"]:
        ours = one(peer["trace"], peer["size"], 4096) if "trace" in peer else None
        if ours:
            gained = ours["predicted"] + ours["joined"]
            what = f"{peer['contender']}, {peer['workload']}: ours over its hits"
            found.append(at_least(what, gained / peer["predicted"], 1.0, "x", stated=False))
    for name in CONTROLS:
        mine = [each for each in rows if each["contender"] == name]
        if mine:
            gains = [each["predicted"] + each["joined"] - each["plain"] for each in mine]
            traffic = max(each["traffic"] for each in mine)
            found.append(at_least(f"{name}: points won, the worst row", 100 * min(gains), -0.2))
            found.append(at_most(f"{name}: reads, the worst row", traffic, 1.02, "x"))
    return found
