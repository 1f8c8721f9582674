"""`cachee demo`: one application on a real Valkey and PostgreSQL, without and with cachee."""

from __future__ import annotations

import argparse
import importlib
import json
import signal
from pathlib import Path
from types import FrameType

from cachee._errors import MissingExtraError
from cachee.cli.output import ProgressBar, check_writable

SUMMARY = "the same API without and with cachee, on a real Valkey and PostgreSQL"
EPILOG = """\
A FastAPI application that checks a session, permissions and flags, counts against a rate limit and
asks for figures and orders is run twice with the same requests: by `uvicorn app:app …` and by
`cachee run -- uvicorn app:app …`, and once more without prediction for the first visit of each
user. Other processes change what it reads meanwhile, and every answer is checked against what they
had committed one second before it was asked for.

examples:
  cachee demo                                  about a minute
  cachee demo --rtt 0.3                        stores in the same data centre
  cachee demo --requests 20000 --json out.json longer, and all of it as JSON
  cachee demo --write-rate 200 --users 500     much more change

exit status: 0, or 1 when an answer was stale.
"""
NEEDED = {
    "fastapi": "fastapi",
    "psycopg": "psycopg",
    "psycopg_pool": "psycopg-pool",
    "redis": "redis",
    "uvicorn": "uvicorn",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument
    add(
        "--rtt",
        type=_not_negative,
        default=1.0,
        metavar="MS",
        help="what the network adds to each round trip to a store (default: 1)",
    )
    add(
        "--requests",
        type=_positive,
        default=4000,
        metavar="N",
        help="measured requests in each run (default: 4000)",
    )
    add(
        "--users",
        type=_positive,
        default=2000,
        metavar="N",
        help="how many users there are; Zipf says how often each asks (default: 2000)",
    )
    add(
        "--concurrency",
        type=_positive,
        default=2,
        metavar="N",
        help="requests under way at once (default: 2)",
    )
    add(
        "--write-rate",
        type=_positive_rate,
        default=5.0,
        metavar="N",
        help="changes a second by another process (default: 5)",
    )
    add("--seed", type=int, default=1, metavar="N", help="of all randomness (default: 1)")
    add("--json", type=Path, metavar="FILE", help="write everything measured to FILE")


def run(arguments: argparse.Namespace) -> int:
    """Run the demo and print what it found."""
    for module, package in NEEDED.items():
        if not _installed(module):
            raise MissingExtraError(package, "demo")
    from cachee.demo import comparison, report

    settings = comparison.Settings(
        rtt_ms=arguments.rtt,
        requests=arguments.requests,
        seed=arguments.seed,
        users=arguments.users,
        write_rate=arguments.write_rate,
        concurrency=arguments.concurrency,
    )
    if arguments.json is not None:
        check_writable("--json", arguments.json)
    signal.signal(signal.SIGTERM, _leave)
    with ProgressBar() as bar:
        result = comparison.compare(settings, bar.show)
    print(report.as_text(result))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(report.as_json(result)) + "\n")
    return 1 if report.is_wrong(result) else 0


def _installed(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: allowed is a whole number from 1 on")
    return value


def _not_negative(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1000:
        raise argparse.ArgumentTypeError(f"{text}: allowed is 0 to 1000")
    return value


def _positive_rate(text: str) -> float:
    value = float(text)
    if not 0 < value <= 5000:
        raise argparse.ArgumentTypeError(f"{text}: allowed is above 0 and up to 5000")
    return value
