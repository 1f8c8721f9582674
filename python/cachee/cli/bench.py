"""`cachee bench`: the proxy beside the server, a byte relay and other proxies, in one run."""

from __future__ import annotations

import argparse
import json
import signal
from pathlib import Path
from types import FrameType

from cachee._errors import CacheeError
from cachee.cli.output import ProgressBar, check_writable, print_json

SUMMARY = "measure the proxy beside the server itself and other proxies"
EPILOG = """\
An embedded Valkey is asked directly, through a relay that only passes bytes on (the floor of any
proxy), through `cachee proxy`, and through twemproxy (nutcracker), predixy and Envoy where they
are on PATH: GET hits and misses, SET, both mixed, MGET, with 1, 16 and 64 commands at once on each
of 50 connections, values of 100 B to 64 KB, over TCP and Unix sockets, and with the server 1 ms
away.

examples:
  cachee bench proxy                          all of it, about half an hour
  cachee bench proxy --quick                  a short look: fewer and shorter rounds
  cachee bench proxy --only "get P=16 100 B"  some cases; globs, may be given several times
  cachee bench proxy --list                   the names of the cases
  cachee bench proxy --json out.json          every round of everybody as JSON

exit codes: 0 done, 1 a stated bar was missed, 2 wrong usage
"""
NAMES = ("proxy",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add = parser.add_argument
    add("name", nargs="?", choices=NAMES, default="proxy", help="what to measure (default: proxy)")
    add("--quick", action="store_true", help="3 rounds of 0.5 s instead of 5 of 1 s")
    add("--rounds", type=int, metavar="N", help="rounds of everybody")
    add("--seconds", type=float, metavar="S", help="length of a round")
    add("--threads", type=int, default=1, metavar="N", help="threads of the load (default: 1)")
    add(
        "--only",
        action="append",
        default=[],
        metavar="GLOB",
        help="only cases whose names begin so",
    )
    add("--among", action="append", default=[], metavar="GLOB", help="only such contenders")
    add("--list", action="store_true", help="only print the names of the cases")
    add("--json", type=Path, metavar="FILE", help="write everything measured to FILE, - is stdout")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print what was found."""
    from cachee.bench import report, rounds

    settings = rounds.Settings(
        rounds=_at_least_one("--rounds", arguments.rounds, 3 if arguments.quick else 5),
        seconds=_seconds(arguments.seconds, 0.5 if arguments.quick else 1.0),
        threads=_at_least_one("--threads", arguments.threads, 1),
        only=tuple(arguments.only),
        among=tuple(arguments.among),
    )
    cases = settings.cases()
    if not cases:
        raise CacheeError(f"--only {' '.join(arguments.only)}: no case has such a name; see --list")
    if arguments.list:
        print("\n".join(case.name for case in cases))
        return 0
    to_stdout = str(arguments.json) == "-"
    if arguments.json is not None and not to_stdout:
        check_writable("--json", arguments.json)
    signal.signal(signal.SIGTERM, _leave)
    with ProgressBar() as bar:
        result = rounds.measure(settings, bar.show)
    if to_stdout:
        print_json(report.as_json(result))
    else:
        print(report.as_text(result))
    if arguments.json is not None and not to_stdout:
        arguments.json.write_text(json.dumps(report.as_json(result), indent=1) + "\n")
    missed = any(bar.stated and bar.holds is False for bar in report.bars(result))
    return 1 if missed else 0


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _at_least_one(flag: str, value: int | None, otherwise: int) -> int:
    if value is None:
        return otherwise
    if value < 1:
        raise CacheeError(f"{flag} {value}: allowed is a whole number from 1 on")
    return value


def _seconds(value: float | None, otherwise: float) -> float:
    if value is None:
        return otherwise
    if not 0.05 <= value <= 600:
        raise CacheeError(f"--seconds {value}: allowed is 0.05 to 600")
    return value
