"""The proxy beside the server itself, a byte relay and other proxies: `cachee bench proxy`."""

from __future__ import annotations

import statistics

from benchmarks.contest import Session
from benchmarks.records import Check, at_least, at_most

NAME = "proxy"
TITLE = "The proxy: `cachee bench proxy`"
METHOD = (
    "50 connections, 1, 16 or 64 commands at once on each; server, proxy and load share the "
    "machine. Everybody is up and takes a second in turn, three times; medians. *Byte relay*: one "
    "thread that passes bytes on unread, one upstream connection a client: the floor of any such "
    "proxy. *CPU*: the kernel's count over all threads, an operation. *Asked*: commands that "
    "reached the server, an operation. *Open loop*: commands sent at fixed times, at half of what "
    "the server itself managed (to a server 1 ms away, 2 000 pipelines a second), latency from "
    "when they were due."
)
CONTENDERS = ()
COLUMNS = (
    ("case", "workload", ""),
    ("", "contender", ""),
    ("operations/s", "throughput_per_s", "n"),
    ("x direct", "ratio_to_direct", "x"),
    ("p50, µs", "p50_ns", "µs"),
    ("p99, µs", "p99_ns", "µs"),
    ("CPU of the server, µs", "server_cpu_ns", "µs"),
    ("CPU of the proxy, µs", "proxy_cpu_ns", "µs"),
    ("asked", "server_commands_per_operation", "n"),
    ("open loop p50, µs", "open_p50_ns", "µs"),
    ("open loop p99, µs", "open_p99_ns", "µs"),
)
KEPT = ("throughput_per_s", "latency_us_p50", "latency_us_p99", "server_cpu_us", "proxy_cpu_us")


def run(session: Session) -> dict:
    """One row a case and contender, on a server of its own; one where a contender is missing."""
    from cachee.bench import report, rounds

    only = ("get P=16 100 B TCP", "set P=1 100 B TCP") if session.quick else ()
    settings = rounds.Settings(rounds=3, only=only)
    result = rounds.measure(settings, lambda _what, _done, _of: None)
    closed = [row for row in result.rows if row.rate_per_s is None]
    rows: list[dict] = []
    for row in closed:
        if row.failed:
            failed = {"contender": row.contender, "failed": row.failed.splitlines()[-1].strip()}
            if failed not in rows:
                rows.append(failed)
        else:
            rows.append(_row(result, row))
    return {"rows": rows, "bars": report.as_json(result)["bars"]}


def _row(result: object, row: object) -> dict:
    from cachee.bench.contenders import DIRECT

    direct = result.row(DIRECT, row.case)
    timed = result.row(row.contender, row.case, in_time=True)
    found = {
        "contender": row.contender,
        "workload": row.case.name,
        "note": row.note,
        "throughput_per_s": row.median("throughput_per_s"),
        "ratio_to_direct": row.median("throughput_per_s") / direct.median("throughput_per_s"),
        "p50_ns": row.median("latency_us_p50") * 1e3,
        "p99_ns": row.median("latency_us_p99") * 1e3,
        "server_cpu_ns": row.median("server_cpu_us") * 1e3,
        "proxy_cpu_ns": None,
        "server_commands_per_operation": row.median("server_commands_per_operation"),
        "rounds": _kept(row.rounds),
    }
    if row.median("proxy_cpu_us") is not None:
        found["proxy_cpu_ns"] = row.median("proxy_cpu_us") * 1e3
    if timed is not None and timed.rounds:
        found["open_rate_per_s"] = timed.rate_per_s
        found["open_rounds"] = _kept(timed.rounds)
        if timed.failed:
            found["note"] = f"{row.case.name}, open loop: {timed.failed}"
        else:
            found["open_p50_ns"] = timed.median("latency_us_p50") * 1e3
            found["open_p99_ns"] = timed.median("latency_us_p99") * 1e3
    return found


def _kept(rounds: list[dict]) -> dict[str, list[float]]:
    """What the medians are of."""
    names = [name for name in KEPT if all(name in each for each in rounds)]
    return {name: [round(each[name], 3) for each in rounds] for name in names}


def checks(result: dict) -> list[Check]:
    """Every stated bar; how often the proxy was at least as fast as the relay and each peer."""
    found = [
        (at_most if bar["is_most"] else at_least)(bar["what"], bar["ratio"], bar["bound"], "x")
        for bar in result["bars"]
        if bar["stated"]
    ]
    others: dict[str, list[float]] = {}
    for bar in result["bars"]:
        if not bar["stated"]:
            others.setdefault(bar["what"].rpartition(" over ")[2], []).append(bar["ratio"])
    for other, ratios in others.items():
        what = f"proxy: throughput over {other}, median of {len(ratios)} cases"
        found.append(at_least(what, statistics.median(ratios), 1, "x", stated=False))
    return found
