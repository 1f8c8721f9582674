"""What was found: JSON with every round, a table for people, and which bars hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from cachee.bench.cases import FAR, TCP, TITLES, UNIX, Case, Route
from cachee.bench.contenders import CACHEE, DIRECT
from cachee.bench.rounds import MEDIANS, Result, Row

VERDICTS = {
    (True, True): "holds",
    (True, False): "MISSED",
    (False, True): "won",
    (False, False): "lost",
}


@dataclass(frozen=True)
class Bar:
    """A ratio and its bound; without `stated` it is a comparison, which is won or lost."""

    what: str
    ratio: float | None
    bound: float
    is_most: bool
    stated: bool = True

    @property
    def holds(self) -> bool | None:
        """None when it could not be measured."""
        if self.ratio is None:
            return None
        return self.ratio <= self.bound if self.is_most else self.ratio >= self.bound

    @property
    def verdict(self) -> str:
        """In a word."""
        holds = self.holds
        return "not measured" if holds is None else VERDICTS[self.stated, holds]


def bars(result: Result) -> list[Bar]:
    """Every stated bar of the cases measured, then the floor and the peers."""
    measured = list(dict.fromkeys(row.case for row in result.rows))
    found: list[Bar] = []
    for case in measured:
        found += _stated(result, case)
    for case in measured:
        found += _compared(result, case)
    return found


def _stated(result: Result, case: Case) -> Iterator[Bar]:
    ours, server = result.row(CACHEE, case), result.row(DIRECT, case)
    name = _named(case)
    near = case.route in (TCP, UNIX)
    if case.operation == "get" and case.value_bytes == 100 and near:
        cpu = _quotient(ours, server, "proxy_cpu_us", "server_cpu_us")
        bound = 1.0 if case.pipeline == 1 else 0.5
        yield Bar(f"{name}: CPU of cachee over the server's own", cpu, bound, is_most=True)
        if case.pipeline > 1:
            speed = _quotient(ours, server, "throughput_per_s")
            yield Bar(f"{name}: throughput over the server's", speed, 1.5, is_most=False)
    ours_timed, server_timed = (result.row(each, case, in_time=True) for each in (CACHEE, DIRECT))
    if case.operation == "get" and case.in_time and near:
        slower = _quotient(ours_timed, server_timed, "latency_us_p99")
        yield Bar(f"{name}: p99 at half load over the server's", slower, 1.0, is_most=True)
    if case.operation == "set" and case.value_bytes == 100 and case.pipeline <= 16 and near:
        speed = _quotient(ours, server, "throughput_per_s")
        yield Bar(f"{name}: throughput over the server's", speed, 0.8, is_most=False)
    if case.operation == "get" and case.route == FAR:
        faster = _quotient(server_timed, ours_timed, "latency_us_p50")
        yield Bar(f"{name}: p50 faster than the server", faster, 20, is_most=False)


def _compared(result: Result, case: Case) -> Iterator[Bar]:
    ours = result.row(CACHEE, case)
    for row in result.rows:
        same = row.case == case and row.rate_per_s is None and not row.failed
        if same and row.contender not in (CACHEE, DIRECT):
            speed = _quotient(ours, row, "throughput_per_s")
            if speed is not None:
                what = f"{_named(case)}: throughput over {row.contender}'s"
                yield Bar(what, speed, 1.0, is_most=False, stated=False)


def _named(case: Case) -> str:
    size = "" if case.value_bytes == 100 else f" of {case.value_bytes} B"
    return f"{TITLES[case.operation]}{size}, P={case.pipeline}, {case.route.name}"


def _quotient(
    above: Row | None, below: Row | None, field: str, field_below: str = ""
) -> float | None:
    over = above.median(field) if above else None
    under = below.median(field_below or field) if below else None
    return over / under if over is not None and under else None


def as_json(result: Result) -> dict[str, object]:
    """Everything, every round included."""
    return {
        "settings": asdict(result.settings),
        "machine": result.machine,
        "rows": [row_as_json(row) for row in result.rows],
        "bars": [asdict(bar) | {"holds": bar.holds} for bar in bars(result)],
    }


def row_as_json(row: Row) -> dict[str, object]:
    """One row: medians and rounds, or the reason there are none."""
    found: dict[str, object] = {
        "contender": row.contender,
        "case": row.case.name,
        **{name: value for name, value in asdict(row.case).items() if name != "route"},
        "route": row.case.route.name,
        "loop": "closed" if row.rate_per_s is None else "open",
        "rate_per_s": row.rate_per_s,
        "note": row.note,
    }
    if row.failed:
        return found | {"failed": row.failed}
    medians = {name: row.median(name) for name in MEDIANS}
    return found | medians | {"rounds": row.rounds}


def as_text(result: Result) -> str:
    """Tables by route, the bars, and who was not there."""
    lines = list(_circumstances(result))
    for route in dict.fromkeys(row.case.route for row in result.rows):
        lines += ["", *_table(result, route)]
    lines += ["", *_verdicts(result), *_absent(result)]
    return "\n".join(lines)


# Commands were without an answer five seconds after the last was sent.
BEHIND = "behind"
HEADINGS = ("", "/s", "of direct", "p50 µs", "p99 µs", "server", "proxy", "asked", "p50", "p99")
WIDTHS = (21, 10, 9, 8, 8, 7, 7, 6, 8, 8)


def _circumstances(result: Result) -> Iterator[str]:
    machine, settings = result.machine, result.settings
    yield (
        f"cachee {machine['cachee']} and {machine['server']} on {machine['cores']} cores of "
        f"{machine['processor']}, load {machine['load_before']:.1f} to {machine['load_after']:.1f}"
    )
    yield (
        f"50 clients, {settings.rounds} rounds of {settings.seconds:g} s in turn, medians; "
        "server, proxy: their CPU, µs an operation;"
    )
    yield "asked: commands that reached the server, an operation; the last two: in the open loop,"
    yield "at half of the server's throughput, to a far server at 2000 pipelines a second"


def _table(result: Result, route: Route) -> Iterator[str]:
    yield f"{route.name}"
    yield _line(HEADINGS)
    rows = [row for row in result.rows if row.case.route == route and row.rate_per_s is None]
    for case in dict.fromkeys(row.case for row in rows):
        yield f"{TITLES[case.operation]}, P={case.pipeline}, {case.value_bytes} B"
        server = result.row(DIRECT, case)
        for row in rows:
            if row.case == case and not row.failed:
                timed = result.row(row.contender, case, in_time=True)
                yield _line(_cells(row, server, timed))


def _cells(row: Row, server: Row | None, timed: Row | None) -> Sequence[str]:
    share = _quotient(row, server, "throughput_per_s")
    shown = [
        f"  {row.contender}",
        _number(row.median("throughput_per_s")),
        "" if share is None else f"{share:.2f}x",
        _number(row.median("latency_us_p50")),
        _number(row.median("latency_us_p99")),
        _number(row.median("server_cpu_us")),
        _number(row.median("proxy_cpu_us")),
        _number(row.median("server_commands_per_operation")),
    ]
    if timed is None:
        return shown
    if timed.failed:
        return [*shown, "", BEHIND]
    return [*shown, *(_number(timed.median(f"latency_us_{each}")) for each in ("p50", "p99"))]


def _line(cells: Sequence[str]) -> str:
    first, *others = cells
    text = "".join(f" {cell:>{width}}" for cell, width in zip(others, WIDTHS[1:], strict=False))
    return f"{first:<{WIDTHS[0]}}{text}".rstrip()


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _verdicts(result: Result) -> Iterator[str]:
    for bar in bars(result):
        sign = "≤" if bar.is_most else "≥"
        ratio = "" if bar.ratio is None else f"{bar.ratio:.2f}x "
        yield f"[{bar.verdict}] {bar.what}: {ratio}({sign} {bar.bound:g}x)"


def _absent(result: Result) -> Iterator[str]:
    for contender in dict.fromkeys(row.contender for row in result.rows):
        own = [row for row in result.rows if row.contender == contender]
        for reason in dict.fromkeys(row.failed for row in own if row.failed):
            failed = [row.case.name for row in own if row.failed == reason]
            where = "" if len(failed) == len(own) else f" on {', '.join(dict.fromkeys(failed))}"
            yield f"not measured: {contender}{where}: {reason.splitlines()[-1].strip()}"
