"""Hit ratio of the eviction policy beside others, on synthetic and real traces."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
from pathlib import Path

from benchmarks import environment, records
from benchmarks.contest import Session
from benchmarks.records import Check, at_least

NAME = "hit_ratio"
TITLE = "Hit ratio of the eviction policy"
METHOD = (
    "Measured by `cargo run --release -p cachee-core --example eviction`: every key weighs 1, a "
    "miss is stored, the capacity is a share of the trace's distinct keys. Synthetic traces are "
    "measured anew; real ones too where `CACHEE_BENCH_TRACES` names their folder, else their rows "
    "are those kept in `results/eviction.json`."
)
CONTENDERS = ()
POLICIES = ("cachee", "lru", "sieve", "s3-fifo", "wtlfu-1%", "wtlfu-hc", "quick", "moka")
COLUMNS = (
    ("trace", "contender", ""),
    ("capacity", "workload", ""),
    *((policy, policy, "%") for policy in POLICIES),
)
KEPT = records.RESULTS / "eviction.json"
TIMEOUT_S = 600


def run(session: Session) -> dict:
    """One row a trace and capacity."""
    traces = os.environ.get("CACHEE_BENCH_TRACES")
    fresh = KEPT if traces else environment.ROOT / "target" / "eviction-synthetic.json"
    failure = "" if session.quick else _measure(traces, fresh)
    measured = _rows(fresh, kept=False) if fresh.exists() and not session.quick else []
    again = {(row["contender"], row["workload"]) for row in measured}
    kept = [r for r in _rows(KEPT, kept=True) if (r["contender"], r["workload"]) not in again]
    failed = [{"contender": "this run", "failed": failure}] if failure else []
    return {"rows": [*measured, *kept, *failed]}


def _measure(traces: str | None, into: Path) -> str:
    """Run the example; what went wrong, or nothing."""
    if not shutil.which("cargo"):
        return "no cargo here"
    command = ["cargo", "run", "--release", "--quiet", "-p", "cachee-core", "--example", "eviction"]
    arguments = [*([traces] if traces else []), "--json", str(into)]
    done = subprocess.run(
        [*command, "--", *arguments],
        cwd=environment.ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return "" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def _rows(path: Path, *, kept: bool) -> list[dict]:
    rows = json.loads(path.read_text())["rows"]
    note = "real traces and those not measured anew are kept from an earlier run" if kept else ""
    return [
        {
            "contender": row["trace"],
            "workload": f"{row['share'] * 100:g} % ({row['capacity']:,} entries)",
            "kept": kept,
            "note": note,
            **row["hit_ratio"],
        }
        for row in rows
    ]


def checks(result: dict) -> list[Check]:
    """The mean over all rows beside each other policy's."""
    rows = [row for row in result["rows"] if "failed" not in row]
    if not rows:
        return []
    mean = {policy: statistics.mean(row[policy] for row in rows) for policy in POLICIES}
    return [
        at_least(
            f"mean hit ratio over {policy}'s", mean["cachee"] / mean[policy], 1, "x", stated=False
        )
        for policy in POLICIES[1:]
    ]
