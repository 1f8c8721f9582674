"""What a figure leaves behind: rows, checks against their stated targets, machine and versions."""

from __future__ import annotations

import datetime as dt
import json
import math
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import environment

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Check:
    """A stated target and what was measured; `holds` is None when it could not be measured.

    A bound that is not a `stated` target is a comparison: it is won or lost, not held or missed.
    """

    what: str
    target: str
    measured: str
    holds: bool | None
    stated: bool = True


def at_most(what: str, value: float | None, bound: float, unit: str = "", **more: bool) -> Check:
    """A check that holds when the value is not above the bound."""
    holds = None if value is None else value <= bound
    return Check(what, f"≤ {bound:g}{unit}", _measured(value, unit), holds, **more)


def at_least(what: str, value: float | None, bound: float, unit: str = "", **more: bool) -> Check:
    """A check that holds when the value is not below the bound."""
    holds = None if value is None else value >= bound
    return Check(what, f"≥ {bound:g}{unit}", _measured(value, unit), holds, **more)


def _measured(value: float | None, unit: str) -> str:
    return "not measured" if value is None else f"{number(value)}{unit}"


def number(value: float) -> str:
    """Three significant digits, no exponent."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}".replace(",", "\u2009")
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def row(rows: list[dict], contender: str, workload: str | None = None) -> dict | None:
    """The row of a contender on a workload; None where it failed or did not take part."""
    for found in rows:
        same = found["contender"] == contender and workload in (None, found.get("workload"))
        if same and "failed" not in found:
            return found
    return None


def quotient(above: dict | None, below: dict | None, field: str = "median_ns") -> float | None:
    """One row's figure over another's, or None when either is missing."""
    return above[field] / below[field] if above and below and below[field] else None


def field(of: dict | None, name: str, scale: float = 1) -> float | None:
    """A field of a row, scaled, or None."""
    return None if of is None or of.get(name) is None else of[name] * scale


def write(name: str, content: dict) -> None:
    """Keep a figure's raw result."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read(name: str) -> dict | None:
    """A figure's kept result, or None when it was never run."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def checks_as_dicts(checks: list[Check]) -> list[dict]:
    """Checks for the result file."""
    return [asdict(check) for check in checks]


def machine(server: dict[str, str]) -> dict[str, object]:
    """Where and on what a figure was measured."""
    processor = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            processor = line.split(":", 1)[1].strip()
            break
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=environment.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "date": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        "processor": processor,
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "pinned": False,
        "kernel": platform.release(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "server": server.get("server_name", "redis")
        + " "
        + server.get("valkey_version", server.get("redis_version", "?")),
        "commit": commit.stdout.strip(),
    }
