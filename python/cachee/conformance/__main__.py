"""`python -m cachee.conformance`: every case for one client or several, as a table."""

from __future__ import annotations

import argparse
import fnmatch
import inspect
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cachee._errors import CacheeError
from cachee.cli.output import check_writable, print_table
from cachee.conformance import report, run
from cachee.conformance.case import Case, all_cases
from cachee.conformance.clients import NAMES, adapter
from cachee.conformance.verdict import Outcome

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130
EPILOG = f"""\
clients: {", ".join(NAMES)},
or module:Class of any other that is a subclass of cachee.conformance.clients.client.Client

A case passes only if a read was first proven to be answered locally: the server's own counters of
commands stood still. What cannot be proven is n/a, with the reason. The server must be one that may
be emptied, without TLS; what is between it and the client passes a relay of the kit's own.

examples:
  python -m cachee.conformance --client cachee
  python -m cachee.conformance --client redis-py --server redis://localhost:6379/0
  python -m cachee.conformance --client coredis --case 'stream.*' --case lost.silent
  python -m cachee.conformance --client cachee --client valkey-glide --json results.json
  python -m cachee.conformance --client my_package.kit:Adapter
  python -m cachee.conformance --client '*'
  python -m cachee.conformance --list
  python -m cachee.conformance --page results.json

exit codes: 0 nothing failed, 1 something failed or hung, 2 wrong usage
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is asked for and return the exit code; argparse raises its own usage errors."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        cases = _chosen(arguments.case)
        if arguments.list:
            _list(cases)
            return 0
        if arguments.page is not None:
            sys.stdout.write(report.as_page(_read(arguments.page), all_cases()))
            return 0
        if not arguments.client:
            parser.error("--client is needed (or --list, or --page)")
        return _run(arguments, cases)
    except CacheeError as error:
        sys.stderr.write(f"cachee.conformance: {error}\n")
        return EXIT_USAGE
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cachee.conformance",
        description="Whether a client's cache is kept right by its server.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--client", action="append", default=[], metavar="NAME", help="which; globs, repeatable")
    add(
        "--server",
        default=run.EMBEDDED,
        metavar="URL",
        help="redis://… or unix://…, or `embedded`, a Valkey of its own (default)",
    )
    add("--case", action="append", default=[], metavar="NAME", help="only such cases; globs")
    add("--json", type=Path, metavar="FILE", help="write the results to FILE")
    add("--overwrite", action="store_true", help="run although the server holds keys")
    add("--list", action="store_true", help="print the cases, their rules and sources")
    add("--page", type=Path, metavar="FILE", help="print kept results as Markdown")
    return parser


def _chosen(names: list[str]) -> list[Case]:
    known = all_cases()
    for name in names:
        if not fnmatch.filter(known, name):
            raise CacheeError(f"--case {name}: there is no such case; see --list")
    wanted = names or ["*"]
    return [
        each
        for name, each in known.items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted)
    ]


def _list(cases: list[Case]) -> None:
    for each in cases:
        parts = "".join(f"  {head.lower()}: {text}\n" for head, text in each.parts.items())
        sys.stdout.write(f"{each.name}\n  {each.sentence}\n{parts}\n")


def _read(file: Path) -> dict[str, object]:
    try:
        content: dict[str, object] = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise CacheeError(f"--page {file}: {error}") from error
    return content


def _clients(names: list[str]) -> list[str]:
    """The names asked for, globs resolved, each once."""
    found = [each for name in names for each in fnmatch.filter(NAMES, name) or [name]]
    return list(dict.fromkeys(found))


def _run(arguments: argparse.Namespace, cases: list[Case]) -> int:
    names = _clients(arguments.client)
    kept: dict[str, dict[str, Any]] = {}
    for name in names:
        opened = inspect.cleandoc(adapter(name).__doc__ or "").split("\n\n")[0]
        kept[name] = {
            "versions": run.versions(name),
            "opened": " ".join(opened.split()),
            "note": adapter(name).note,
        }
    if arguments.json is not None:
        check_writable("--json", arguments.json)
    width = max(len(each.name) for each in cases)
    colours = sys.stdout.isatty()

    def tell(result: run.Result) -> None:
        sys.stdout.write(report.line(result, width, colours=colours) + "\n")
        sys.stdout.flush()

    clients: dict[str, list[run.Result]] = {}
    with run.serving(arguments.server, overwrite=arguments.overwrite) as server:
        about = run.about(server)
        for name in names:
            versions = ", ".join(" ".join(each) for each in kept[name]["versions"].items())
            sys.stdout.write(f"\n{name} ({versions}) on {about['server']}\n")
            clients[name] = run.run(name, cases, server, tell)
            sys.stdout.write(f"{report.counts(clients[name])}\n")
    if len(clients) > 1:
        sys.stdout.write("\n")
        print_table(report.overview([each.name for each in cases], clients))
    if arguments.json is not None:
        content = report.as_json(about, clients, kept)
        arguments.json.write_text(json.dumps(content, indent=1) + "\n")
    bad = (Outcome.FAIL, Outcome.HANG)
    failed = any(each.outcome in bad for results in clients.values() for each in results)
    return EXIT_FAILED if failed else 0


if __name__ == "__main__":
    sys.exit(main())
