"""`cachee audit`: compare what a proxy answers with what its server holds."""

from __future__ import annotations

import argparse
import os

from cachee import _audit
from cachee._errors import CacheeError
from cachee._resp import parse_url
from cachee._units import parse_duration_ms
from cachee.cli.output import ProgressBar, print_json, print_table

SUMMARY = "compare what a proxy answers with what its server holds"
EPILOG = """\
Samples keys of the server and reads each from both. An answer that is old is asked for again until
another one comes (late) or the bound is over (wrong). It only reads, at most --rate answers a
second, strings up to 1 MB and collections up to 1000 members, each twice from both.

In front of a cluster name one node at a time as the server: its own keys are compared.

examples:
  cachee audit redis://localhost:6380 redis://cache:6379
  cachee audit redis://localhost:6380 redis://cache:6379 --samples 1000000 --rate 5000
  cachee audit redis://localhost:6380/2 redis://cache:6379/2 --match 'session:*' --json

exit codes: 0 nothing is wrong, 1 something is, 2 wrong usage or one of the two cannot be asked
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("proxy", help="the proxy, as clients reach it: redis://[USER:PASSWORD@]…")
    parser.add_argument("server", help="the server behind it, as the same user")
    parser.add_argument("--samples", type=int, default=10_000, help="answers to compare (10000)")
    parser.add_argument("--rate", type=float, default=2_000, help="at most so many a second (2000)")
    parser.add_argument(
        "--max-staleness",
        type=_milliseconds,
        default="1s",
        metavar="DURATION",
        help="how old an answer may be (1s)",
    )
    parser.add_argument("--match", metavar="GLOB", help="only these keys, as in SCAN (all)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _milliseconds(text: str) -> int:
    try:
        return parse_duration_ms(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a duration, such as 500ms or 2s"
        ) from None


def run(arguments: argparse.Namespace) -> int:
    """Compare and print; CacheeError when one of the two cannot be asked."""
    if arguments.samples < 1 or not 0.1 <= arguments.rate <= 1e9:
        raise CacheeError("--samples must be 1 or more, --rate from 0.1 to 1e9")
    cache, store = parse_url(arguments.proxy), parse_url(arguments.server)
    outcome = _audit.Outcome()
    try:
        with ProgressBar() as bar:
            _audit.audit(
                cache,
                store,
                outcome,
                samples=arguments.samples,
                per_second=arguments.rate,
                max_staleness_s=arguments.max_staleness / 1000,
                match=None if arguments.match is None else os.fsencode(arguments.match),
                show=lambda done: bar.show(
                    "comparing", min(done, arguments.samples), arguments.samples
                ),
            )
    finally:
        # One that breaks off has said something, too.
        if outcome.samples:
            print_json(outcome.as_dict()) if arguments.json else _print(outcome)
    return 1 if outcome.wrong else 0


def _print(outcome: _audit.Outcome) -> None:
    late = f"right again after {outcome.late_s_max * 1000:.1f} ms at most" if outcome.late else ""
    print_table(
        [
            ("compared", str(outcome.samples), "answers of the proxy"),
            ("equal", str(outcome.equal), ""),
            ("late", str(outcome.late), late),
            ("changed", str(outcome.changed), "meanwhile: nothing can be said"),
            ("wrong", str(outcome.wrong), "older than the bound"),
            ("errors", str(outcome.errors), "of the proxy instead of an answer"),
            ("skipped", str(outcome.skipped), "keys too large, of other types, or not to be read"),
        ]
    )
    for key in outcome.wrong_keys:
        print(f"  wrong: {key}")
