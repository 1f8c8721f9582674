"""The result as text for people and as one JSON object for programs."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from importlib import metadata

from cachee.demo import content
from cachee.demo.checker import Verdict
from cachee.demo.comparison import BOUND_MS, Phase, Result, Run
from cachee.demo.measurement import CACHEABLE_STAGES, REST, STAGES, TOGETHER, TOTAL
from cachee.demo.writers import SHARES

BAR_COLUMNS = 60
WIDTHS = (11, 10, 13, 10, 9)
PACKAGES = ("cachee", "fastapi", "hiredis", "psycopg", "pydantic", "redis", "uvicorn", "uvloop")
ROWS = {
    **STAGES,
    REST: "HTTP, framework",
    TOTAL: "",
    TOGETHER: "",
}
NAMES = {TOTAL: "whole request", TOGETHER: "Redis reads together"}
NOT_TAKEN_OVER = {
    "rate_limit": "a write: asks as before",
    "direct_query": "asks as before",
    "serialisation": "done as before",
    REST: "done as before",
}


def as_text(result: Result) -> str:
    """Circumstances, table, waterfall and verdict."""
    return "\n".join(
        [
            *_circumstances(result),
            "",
            *_table(result),
            "",
            *_waterfall(result),
            "",
            *_first_visits(result),
            *_restarts(result),
            *_verdict(result),
        ]
    )


def as_json(result: Result) -> dict[str, object]:
    """Everything measured, the histograms included."""
    settings, with_cachee = result.settings, result.with_cachee
    verdicts = _verdicts(result)
    return {
        "rtt_ms": settings.rtt_ms,
        "rtt_added_ms": {name: round(ms, 4) for name, ms in result.rtt_added_ms.items()},
        "relay_late_us": {"p50": result.relay_late_us_p50, "p99": result.relay_late_us_p99},
        "requests": settings.requests,
        "seed": settings.seed,
        "users": settings.users,
        "zipf_exponent": content.ZIPF_EXPONENT,
        "write_rate": settings.write_rate,
        "write_shares": SHARES,
        "concurrency": settings.concurrency,
        "bound_ms": BOUND_MS,
        "without": _run_json(result.without),
        "with": _run_json(with_cachee) | {"l1_hit_rate": l1_hit_rate(result)},
        "speedup_p50": _factor(result, TOTAL),
        "first_visits": {name: _first_json(run) for name, run in _first_runs(result)},
        "restarts": {name: vars(each) for name, each in with_cachee.restarts.items()},
        "redis_stages_speedup_p50": _factor(result, TOGETHER),
        "answers_checked": sum(verdict.answers_checked for verdict in verdicts),
        "stale_answers": sum(verdict.stale_answers for verdict in verdicts),
        "impossible_answers": sum(verdict.impossible_answers for verdict in verdicts),
        "versions": versions(result),
    }


def l1_hit_rate(result: Result) -> float:
    """The hit rate of the measured phase, by the count of the application's process."""
    l1 = result.with_cachee.measured.l1
    return 0.0 if l1 is None else l1.hit_rate


def is_wrong(result: Result) -> bool:
    """Whether the checker found an answer it does not allow, in either run."""
    verdicts = _verdicts(result)
    return any(verdict.stale_answers or verdict.impossible_answers for verdict in verdicts)


def _verdicts(result: Result) -> list[Verdict]:
    runs = (result.without, result.with_cachee, result.unpredicted)
    return [run.verdict for run in runs if run is not None]


def versions(result: Result) -> dict[str, str]:
    """What took part, by version."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    found.update({package: _version(package) for package in PACKAGES})
    return found | result.server_versions


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _run_json(run: Run) -> dict[str, object]:
    stages = {name: run.durations.percentiles(name)._asdict() for name in ROWS}
    total = run.durations.percentiles(TOTAL)
    return {
        "p50_ms": total.p50_us / 1e3,
        "p99_ms": total.p99_us / 1e3,
        "answered_requests": run.durations.answers,
        "stages": stages,
        "warm_up": _phase_json(run.warm_up),
        "measured": _phase_json(run.measured),
        "check": vars(run.verdict),
        "histograms_us": {name: run.durations.histogram(name) for name in ROWS},
    }


def _phase_json(phase: Phase) -> dict[str, object]:
    l1 = phase.l1
    return {
        "requests": phase.requests,
        "took_s": phase.took_s,
        "requests_per_s": phase.requests / phase.took_s,
        "reads_asked": phase.reads_asked,
        "reads_at_store": phase.reads_at_store,
        "l1": None if l1 is None else vars(l1) | {"hit_rate": l1.hit_rate},
    }


def _circumstances(result: Result) -> Iterator[str]:
    settings, added, stores = result.settings, result.rtt_added_ms, result.server_versions
    per_s = {kind: settings.write_rate * share / 20 for kind, share in SHARES.items()}
    yield "One FastAPI application, unchanged, without and with cachee"
    yield (
        f"  stores    Valkey {stores['valkey']} and PostgreSQL {stores['postgresql']}, "
        f"{settings.rtt_ms:g} ms away: a relay adds {added['valkey']:.2f} and "
        f"{added['postgres']:.2f} ms"
    )
    yield (
        f"  load      {settings.requests} requests of {settings.users} users "
        f"(Zipf {content.ZIPF_EXPONENT:g}, seed {settings.seed}), {settings.concurrency} at a time"
    )
    yield "  warm-up   one request of every user, before the measured ones, in both runs"
    yield (
        f"  changes   {settings.write_rate:g}/s by another process: "
        f"{per_s['session']:g} sessions, {per_s['permissions']:g} permissions, "
        f"{per_s['flags']:g} flags, {per_s['cached_query']:g} figures"
    )


def _table(result: Result) -> Iterator[str]:
    yield _row("", ("without", "", "with cachee", "", ""))
    yield _row("", ("p50", "p99", "p50", "p99", "at p50"))
    for name, asks in ROWS.items():
        if name == TOTAL:
            yield ""
        without = result.without.durations.percentiles(name)
        with_cachee = result.with_cachee.durations.percentiles(name)
        cells = [_duration(us) for us in (*without, *with_cachee)]
        title = f"{_name(name):<15}{asks}"
        note = NOT_TAKEN_OVER.get(name, "")
        yield f"{_row(title, (*cells, _times(_factor(result, name))))}  {note}".rstrip()


def _row(title: str, cells: Sequence[str]) -> str:
    columns = "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True))
    return f"{title:<32}{columns}".rstrip()


def _waterfall(result: Result) -> Iterator[str]:
    """The stages of the median request one after the other, both runs on the same scale."""
    longest_us = max(1e-9, result.without.durations.percentiles(TOTAL).p50_us)
    for title, run in (("without", result.without), ("with cachee", result.with_cachee)):
        yield f"{title}, one column is {_duration(longest_us / BAR_COLUMNS)}"
        since_us = 0.0
        for name in (*STAGES, REST):
            took_us = run.durations.percentiles(name).p50_us
            first = round(since_us / longest_us * BAR_COLUMNS)
            last = round((since_us + took_us) / longest_us * BAR_COLUMNS)
            bar = "█" * (last - first) or "▏"
            yield f"  {_name(name):<15}{' ' * first}{bar} {_duration(took_us)}"
            since_us += took_us


def _first_runs(result: Result) -> Iterator[tuple[str, Run]]:
    yield "without", result.without
    if result.unpredicted is not None:
        yield "without_prediction", result.unpredicted
    yield "with", result.with_cachee


def _first_json(run: Run) -> dict[str, float]:
    reads = run.first_visits.percentiles(TOGETHER)
    return {"redis_reads_p50_ms": reads.p50_us / 1e3, "redis_reads_p99_ms": reads.p99_us / 1e3}


def _first_visits(result: Result) -> Iterator[str]:
    """What the reads of a user cost whom nobody has seen."""
    if result.unpredicted is None:
        return
    yield "first visit     Redis reads together, p50 and p99, of users nobody has seen"
    titles = {
        "without": "without",
        "without_prediction": "with cachee, prefetch off",
        "with": "with cachee",
    }
    for name, run in _first_runs(result):
        p50_us, p99_us = run.first_visits.percentiles(TOGETHER)
        yield f"                {titles[name]:<27}{_duration(p50_us):>10}{_duration(p99_us):>10}"


def _restarts(result: Result) -> Iterator[str]:
    """How soon a restarted process hits as often as before."""
    titles = {"with_snapshot": "with a snapshot", "without": "without"}
    told = [
        f"{'not at all' if each.seconds is None else f'{each.seconds:.2f} s'} {titles[name]}"
        for name, each in result.with_cachee.restarts.items()
    ]
    if told:
        yield f"restart         nine tenths of the hit rate after {', '.join(told)}"


def _verdict(result: Result) -> Iterator[str]:
    run, without = result.with_cachee, result.without
    warm_up = run.warm_up.l1.hit_rate if run.warm_up.l1 else 0.0
    spared = 1 - run.measured.reads_at_store / max(1, run.measured.reads_asked)
    names = ", ".join(_name(name) for name in CACHEABLE_STAGES)
    hit_rate = l1_hit_rate(result)
    yield f"L1 hit rate     {hit_rate:.2%} of the Redis reads ({warm_up:.1%} in the warm-up)"
    yield f"                by Valkey's own count {spared:.2%} of the reads never reached it"
    yield f"Redis reads     {_times(_factor(result, TOGETHER))} faster at p50 ({names})"
    yield (
        f"whole request   {_times(_factor(result, TOTAL))} faster at p50, "
        f"{_rate(without):.0f} -> {_rate(run):.0f} requests/s; what is left is not taken over yet"
    )
    for title, verdict in (("with", run.verdict), ("without", without.verdict)):
        behind, worst_ms = verdict.behind_within_bound_answers, verdict.behind_ms_max
        yield (
            f"stale answers   {verdict.stale_answers} of {verdict.answers_checked} {title} cachee, "
            f"during {verdict.commits} changes (bound {BOUND_MS / 1e3:g} s)"
        )
        yield (
            f"                {behind} within the bound but not the newest"
            + (f", at most {worst_ms:.1f} ms behind" if behind else "")
        )
        if verdict.impossible_answers:
            yield f"                {verdict.impossible_answers} showed what nobody had written"


def _rate(run: Run) -> float:
    return run.measured.requests / run.measured.took_s


def _factor(result: Result, name: str) -> float:
    without = result.without.durations.percentiles(name).p50_us
    with_cachee = result.with_cachee.durations.percentiles(name).p50_us
    return without / with_cachee if with_cachee else 0.0


def _times(factor: float) -> str:
    return f"{factor:.0f}x" if factor >= 10 else f"{factor:.1f}x"


def _duration(us: float) -> str:
    if us >= 1000:
        return f"{us / 1e3:.2f} ms"
    return f"{us:.1f} µs" if us >= 10 else f"{us:.2f} µs"


def _name(stage: str) -> str:
    return NAMES.get(stage, stage.replace("_", " "))
