"""The command line: `cachee COMMAND …`, one file a command, all of the same shape.

A command file has SUMMARY, EPILOG, `add_arguments(parser)` and `run(arguments)`; the last returns
the exit code. Codes mean the same everywhere: 0 done, 1 done but the answer is no, 2 wrong usage or
nothing to talk to, 130 interrupted. Commands are imported when they are asked for, so that
`cachee run` does not pay for the demo.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Protocol, cast

from cachee._core import __version__
from cachee._errors import CacheeError

COMMANDS = ("run", "proxy", "doctor", "stats", "audit", "config", "demo", "bench", "simulate")

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

EPILOG = """\
examples:
  cachee run -- gunicorn app:app             any Python program, with the in-process L1
  cachee proxy --upstream redis://cache:6379  any other language: the L1 as a server beside it
  cachee doctor redis://localhost:6379       what would work with this server
  cachee stats                               what the L1 of a running process has done
  cachee audit redis://proxy redis://server  whether the proxy answers what the server holds
  cachee config                              every setting with default and meaning
  cachee demo                                the same API with and without, on real servers
  cachee bench proxy                         the proxy beside the server and other proxies
  cachee simulate trace.csv                  hit rate over memory for a recorded access trace

exit codes: 0 done, 1 done but the answer is no, 2 wrong usage or nothing to talk to
"""


class Command(Protocol):
    """What a command file offers."""

    SUMMARY: str
    EPILOG: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...
    def run(self, arguments: argparse.Namespace) -> int: ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code; only argparse's own usage error is raised."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = _parser(words)
    arguments = parser.parse_args(words)
    if arguments.command is None:
        parser.print_help()
        return EXIT_USAGE
    try:
        return _command(arguments.command).run(arguments)
    except CacheeError as error:
        print(f"cachee {arguments.command}: {error}", file=sys.stderr)
        return EXIT_USAGE
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cachee",
        description="An L1 for Redis and Valkey clients that the server keeps coherent.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cachee {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    asked = next((word for word in words if word in COMMANDS), None)
    for name in COMMANDS:
        command = _command(name)
        subparser = commands.add_parser(
            name,
            help=command.SUMMARY,
            description=command.SUMMARY[0].upper() + command.SUMMARY[1:] + ".",
            epilog=command.EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == asked:
            command.add_arguments(subparser)
    return parser


def _command(name: str) -> Command:
    return cast(Command, importlib.import_module(f"cachee.cli.{name}"))
