"""`cachee stats`: what the L1 of a running process has done."""

from __future__ import annotations

import argparse
import contextlib
from typing import Any

from cachee import _stats_socket
from cachee._errors import ProcessNotFoundError
from cachee._units import approximate_size
from cachee.cli.output import print_json, print_table

SUMMARY = "show what the L1 of a running process has done"
EPILOG = """\
A process answers when it was started by `cachee run`, imported cachee.auto, or has the setting
stats_socket = on; only processes of the same user are seen.

examples:
  cachee stats                 the only process there is, or the list of them
  cachee stats 4242            one process
  cachee stats --all           every process, one after the other
  cachee stats --json          for programs: a list of snapshots
  cachee stats 4242 --json     for programs: one snapshot

exit codes: 0 done, 2 no process answers
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("pid", nargs="?", type=int, help="process id; default: the only one")
    parser.add_argument("--all", action="store_true", help="every process of this user")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Ask and print; ProcessNotFoundError when nobody answers."""
    named = arguments.pid is not None
    found = _ask([arguments.pid] if named else _stats_socket.running_processes(), skip=not named)
    if not found:
        raise ProcessNotFoundError(
            "no process of this user answers; start one with `cachee run`, "
            "import cachee.auto or set stats_socket = on"
        )
    if arguments.json:
        print_json(found[0] if named else found)
        return 0
    if len(found) > 1 and not arguments.all:
        print("several processes answer; name one, or use --all:")
        print_table([(str(each["pid"]), _one_line(each)) for each in found], indent=2)
        return 0
    for position, snapshot in enumerate(found):
        if position:
            print()
        _print(snapshot)
    return 0


def _ask(pids: list[int], *, skip: bool) -> list[dict[str, Any]]:
    """Their snapshots; one that ends meanwhile is skipped, unless it was asked for by name."""
    snapshots = []
    for pid in pids:
        with contextlib.suppress(*((ProcessNotFoundError,) if skip else ())):
            snapshots.append(_stats_socket.ask(pid))
    return snapshots


def _one_line(snapshot: dict[str, Any]) -> str:
    return f"{snapshot['hit_rate']:.1%} of {snapshot['reads']} reads"


def _print(snapshot: dict[str, Any]) -> None:
    bypassed = sum(snapshot["bypasses"].values())
    used, capacity = snapshot["weight_bytes"], snapshot["capacity_bytes"]
    memory = f"{approximate_size(used)} of {approximate_size(capacity)}"
    print(f"process {snapshot['pid']}, mode {snapshot['mode']}")
    rows = [
        ("reads", str(snapshot["reads"]), f"{snapshot['hit_rate']:.2%} served from the L1"),
        ("hits", str(snapshot["hits"]), ""),
        ("misses", str(snapshot["misses"]), "asked of the server and kept if it may be"),
        ("joined", str(snapshot["coalesced"]), "waited for another's miss"),
        ("bypassed", str(bypassed), "went to the store, by reason below"),
        ("entries", str(snapshot["entries"]), memory),
        ("stored", str(snapshot["stored"]), f"{snapshot['voided']} voided before they were stored"),
        ("evicted", str(snapshot["evicted"]), "by the policy, to make room"),
        ("expired", str(snapshot["expired"]), "by time"),
        ("invalidated", str(snapshot["invalidated"]), "changed outside"),
    ]
    print_table(rows, indent=2)
    for title, counts in (
        ("bypassed", snapshot["bypasses"]),
        ("passed through", snapshot["pass_through"]),
    ):
        for reason, count in sorted(counts.items(), key=lambda item: -item[1]):
            print(f"  {title} {count}: {reason}")
    for link in snapshot["links"]:
        print(f"  link {link['server']}: {link['state']} {link['reason']}".rstrip())
