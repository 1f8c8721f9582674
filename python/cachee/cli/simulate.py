"""`cachee simulate`: the hit rate over the size of the memory, for a recorded access trace."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from cachee import _trace_file
from cachee._core import Trace
from cachee._errors import CacheeError
from cachee._units import format_size, parse_size
from cachee.cli.curves import svg
from cachee.cli.output import ProgressBar, print_json, print_table

SUMMARY = "hit rate over memory size for a recorded access trace"
EPILOG = """\
The trace is played through the real L1, with and without prediction, one client asking for one key
after the other. Beside it stand LRU and the most that any cache of that size could have without
prediction (Belady). A size is shared by cache and prediction; an entry takes its value and 160 B.
Nothing expires or changes, and all values weigh the same.

TRACE is text (.csv, .txt: one key a line, or a column named key) or one little-endian 8-byte code a
request, plain or with zstd. A running program writes one: `cachee run --record trace.u64 -- …`,
`cachee proxy --record trace.u64`. Of a sample (record_sample, --sample) the keys and the shares of
them are those of the sample, a size in bytes is that of the whole: it is divided by the sample,
which a recorded file has in its name (trace-1in16-4242.u64).

Only the order of the keys is predicted here: the rules between templates of keys, which a running
L1 learns as well, need the values.

examples:
  cachee simulate trace.csv                                   six sizes, values of 1 KB
  cachee simulate trace.csv --sizes 1%,10%,64mb --value-bytes 256
  cachee simulate trace.u64.zst --rtt 1 --prediction off --json out.json
  cachee simulate trace.u64.zst --clients 64 --plot curve.svg
  cachee simulate huge.u64.zst --sample 16                    one key in sixteen
  cachee simulate trace-1in16-4242.u64 --sizes 64mb           recorded with record_sample = 16

exit codes: 0 done, 2 wrong usage or no trace
"""

SIZES = "1%,2%,5%,10%,25%,50%"
STDOUT = "-"
_SHARE = re.compile(r"([0-9]+(?:\.[0-9]+)?)%")


@dataclass(frozen=True)
class Row:
    """One size."""

    size: str
    capacity_bytes: int
    entries: int
    """That fit without prediction."""
    lru: float
    """This and the next three are hit rates, from 0 to 1."""
    cachee: float
    belady: float
    predicted: float | None = None
    joined: float | None = None
    """Loaded ahead, and still on its way when asked for: the part of the requests."""
    precision: float | None = None
    """Of what was loaded ahead, the part that was asked for."""
    traffic: float | None = None
    """Reads at the server, over those without prediction."""
    waiting: float | None = None
    """Time waited for the server, over that without prediction."""
    lost: float | None = None
    """Misses of what the cache without prediction had: the part of the requests."""
    polluted: float | None = None
    """Misses of what had to go for a key loaded ahead that nobody asked for: part of them."""
    prediction_bytes: int | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("trace", type=Path, metavar="TRACE", help="the recorded accesses")
    parser.add_argument(
        "--sizes",
        default=SIZES,
        metavar="LIST",
        help="memory, as shares of what all keys would take or as sizes (%(default)s)",
    )
    parser.add_argument("--value-bytes", type=int, default=1024, help="of each value (1024)")
    parser.add_argument("--rtt", type=float, default=0.2, metavar="MS", help="to the server (0.2)")
    parser.add_argument(
        "--think", type=float, default=0.02, metavar="MS", help="between two requests (0.02)"
    )
    parser.add_argument(
        "--clients", type=int, default=1, help="that ask at the same time, each for its part (1)"
    )
    parser.add_argument(
        "--sample", type=int, default=1, metavar="N", help="simulate one key in N (1: all)"
    )
    parser.add_argument("--prediction", choices=("on", "off"), default="on", help="(on)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the curves as SVG")
    parser.add_argument(
        "--json",
        nargs="?",
        const=STDOUT,
        metavar="FILE",
        help="write JSON to FILE; without one print it instead of the table",
    )


def run(arguments: argparse.Namespace) -> int:
    """Simulate and print; CacheeError for a wrong value or no trace."""
    if not 1 <= arguments.value_bytes <= 1 << 30:
        raise CacheeError("--value-bytes is from 1 to 1073741824")
    for name in ("rtt", "think"):
        if not 0 <= getattr(arguments, name) <= 10_000:
            raise CacheeError(f"--{name} is from 0 to 10000 milliseconds")
    for name, most in (("clients", 10_000), ("sample", 1_000_000)):
        if not 1 <= getattr(arguments, name) <= most:
            raise CacheeError(f"--{name} is from 1 to {most}")
    sizes = [size.strip() for size in arguments.sizes.split(",")]
    _capacities(sizes, 1, arguments.value_bytes)  # before a long file is read
    with ProgressBar() as bar:
        bar.show("reading", 0, 0)
        trace = _trace_file.read(arguments.trace).sample(arguments.sample)
        if not len(trace):
            raise CacheeError(
                f"--sample: none of the keys is in a sample of 1 in {arguments.sample}"
            )
        one_in = arguments.sample * _trace_file.recorded_sample(arguments.trace)
        capacities = _capacities(sizes, trace.keys, arguments.value_bytes)
        rows = []
        for done, (size, capacity_bytes) in enumerate(zip(sizes, capacities, strict=True)):
            bar.show(f"simulating {size}", done, len(sizes))
            rows.append(_row(trace, size, capacity_bytes, one_in, arguments))
    floor = 1 - trace.keys / len(trace)
    if arguments.plot is not None:
        _plot(arguments.plot, floor, rows)
    told = {
        "trace": str(arguments.trace),
        "requests": len(trace),
        "keys": trace.keys,
        "infinite_cache": floor,
        "value_bytes": arguments.value_bytes,
        "rtt_ms": arguments.rtt,
        "think_ms": arguments.think,
        "clients": arguments.clients,
        "sample": one_in,
        "rows": [asdict(row) for row in rows],
    }
    if arguments.json == STDOUT:
        print_json(told)
        return 0
    if arguments.json is not None:
        _write(Path(arguments.json), json.dumps(told) + "\n")
    _print(trace, floor, one_in, rows)
    return 0


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CacheeError(f"{path}: {error.strerror or error}") from None


def _capacities(sizes: list[str], keys: int, value_bytes: int) -> list[int]:
    return [_capacity_bytes(size, keys, value_bytes) for size in sizes]


def _capacity_bytes(size: str, keys: int, value_bytes: int) -> int:
    share = _SHARE.fullmatch(size)
    try:
        if share is None:
            return parse_size(size)
        return int(keys * float(share[1]) / 100) * (value_bytes + Trace.ENTRY_OVERHEAD_BYTES)
    except ValueError:
        raise CacheeError(
            f"--sizes: {size!r} is neither a share, as in 10%, nor a size, as in 64mb"
        ) from None


def _row(
    trace: Trace, size: str, whole_bytes: int, one_in: int, arguments: argparse.Namespace
) -> Row:
    # Of a sample the cache is smaller by as much; a size in bytes is that of the whole.
    of_whole = 1 if _SHARE.fullmatch(size) else one_in
    capacity_bytes = whole_bytes // of_whole
    entries = capacity_bytes // (arguments.value_bytes + Trace.ENTRY_OVERHEAD_BYTES)

    setup = {
        "capacity_bytes": capacity_bytes,
        "value_bytes": arguments.value_bytes,
        "round_trip_us": round(arguments.rtt * 1000),
        "think_us": round(arguments.think * 1000),
        "clients": arguments.clients,
    }
    requests = len(trace)
    known: dict[str, float | int] = {}
    if arguments.prediction == "off":
        plain = trace.simulate(prediction=False, **setup)
    else:
        plain, ahead = trace.compare(**setup)
        known = {
            "predicted": ahead["hits"] / requests,
            "joined": ahead["joined"] / requests,
            "precision": ahead["used"] / max(ahead["issued"], 1),
            "traffic": (ahead["misses"] + ahead["issued"]) / max(plain["misses"], 1),
            "waiting": ahead["waited_us"] / max(plain["waited_us"], 1),
            "prediction_bytes": ahead["prediction_bytes"],
            "lost": ahead["lost"] / requests,
            "polluted": ahead["polluted"] / requests,
        }
    return Row(
        size=size,
        capacity_bytes=capacity_bytes,
        entries=entries,
        lru=trace.lru_hits(entries) / requests,
        cachee=plain["hits"] / requests,
        belady=trace.belady_hits(entries) / requests,
        **known,  # type: ignore[arg-type]
    )


def _print(trace: Trace, floor: float, one_in: int, rows: list[Row]) -> None:
    print(f"{len(trace)} requests of {trace.keys} keys; an infinite cache would have {floor:.2%}")
    if one_in > 1:
        print(f"a sample of one key in {one_in}, like the memory and the entries of each row")
    print()
    header = ["memory", "entries", "LRU", "cachee", "Belady"]
    more = ["predicting", "on its way", "precision", "reads", "waiting"]
    table = [header + more if rows[0].predicted is not None else header]
    for row in rows:
        memory = f"{row.size}{_megabytes(row)}"
        cells = [memory, str(row.entries), _rate(row.lru), _rate(row.cachee), _rate(row.belady)]
        if row.predicted is not None:
            cells += [_rate(row.predicted), f"+{row.joined:.2%}", f"{row.precision:.2f}"]
            cells += [f"{row.traffic:.2f}x", f"{row.waiting:.2f}x"]
        table.append(cells)
    print_table(table)


def _plot(path: Path, floor: float, rows: list[Row]) -> None:
    """The curves, hit rate over memory; CacheeError when the file cannot be written."""
    curves = {
        "LRU": [row.lru for row in rows],
        "cachee": [row.cachee for row in rows],
        "Belady": [row.belady for row in rows],
        "infinite cache": [floor for _ in rows],
    }
    if rows[0].predicted is not None:
        curves["predicting"] = [(row.predicted or 0) + (row.joined or 0) for row in rows]
    _write(path, svg([row.size for row in rows], curves))


def _rate(part: float) -> str:
    return f"{part:.2%}"


def _megabytes(row: Row) -> str:
    if row.size == format_size(row.capacity_bytes):
        return ""
    return f" ({row.capacity_bytes / 1024**2:.1f} MB)"
