"""`cachee doctor`: would cachee work with this server, and what should be changed."""

from __future__ import annotations

import argparse
import os

from cachee import doctor
from cachee._errors import CacheeError
from cachee.cli.output import print_json

SUMMARY = "probe a Redis or Valkey: what will work and what to change"
EPILOG = """\
Nothing is written and no key of yours is read. Without a URL, REDIS_URL or VALKEY_URL is taken from
the environment, else redis://localhost:6379.

examples:
  cachee doctor redis://localhost:6379
  cachee doctor rediss://user:password@cache.example.org:6380/0
  cachee doctor unix:///run/valkey/valkey.sock
  cachee doctor --json redis://a:6379 redis://b:6379

exit codes: 0 clients of every URL will be served, 1 some will pass through, 2 wrong usage or a
server that cannot be reached
"""

SIGNS = {"ok": "ok", "note": "note", "change": "change", "pass through": "NO"}
DEFAULT_URL = "redis://localhost:6379"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("url", nargs="*", help="redis://, rediss:// or unix://")
    parser.add_argument("--timeout", type=float, default=3.0, metavar="SECONDS", help="default 3")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Look at every URL and print what was found."""
    if arguments.timeout <= 0:
        raise CacheeError(f"--timeout {arguments.timeout}: allowed is more than 0 seconds")
    urls = list(arguments.url) or [
        os.environ.get("REDIS_URL") or os.environ.get("VALKEY_URL") or DEFAULT_URL
    ]
    reports = [doctor.examine(url, timeout_s=arguments.timeout) for url in urls]
    if arguments.json:
        print_json([report.as_dict() for report in reports])
    else:
        print("\n\n".join(_as_text(report) for report in reports))
    if not all(report.reachable for report in reports):
        return 2
    return 0 if all(report.serves for report in reports) else 1


def _as_text(report: doctor.Report) -> str:
    lines = [report.url]
    for finding in report.findings:
        lines.append(f"  {SIGNS[finding.verdict]:<7}{finding.subject}: {finding.found}")
        if finding.advice:
            lines.append(f"         {finding.advice}")
    if report.serves:
        lines.append("  Clients of this server will be served from the L1.")
    elif not report.reachable:
        lines.append("  Nothing can be said of its clients: not reachable.")
    else:
        lines.append("  Clients of this server will pass through, as if cachee were not there.")
    return "\n".join(lines)
