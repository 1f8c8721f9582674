"""`cachee stats`: what the L1 of a running process or proxy has done."""

from __future__ import annotations

import argparse
import contextlib
from typing import Any

from cachee import _stats_socket
from cachee._errors import ProcessNotFoundError
from cachee._units import approximate_size
from cachee.cli.output import print_json, print_table

SUMMARY = "show what the L1 of a running process or proxy has done"
EPILOG = """\
A process answers when it is `cachee proxy`, was started by `cachee run`, imported cachee.auto, or
has the setting stats_socket = on; only processes of the same user are seen.

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
            "no process of this user answers; start one with `cachee run` or "
            "`cachee proxy`, import cachee.auto or set stats_socket = on"
        )
    if arguments.json:
        print_json(found[0] if named else found)
        return 0
    if len(found) > 1 and not arguments.all:
        print("several processes answer; name one, or use --all:")
        rows = [(str(each["pid"]), each["kind"], _one_line(each)) for each in found]
        print_table(rows, indent=2)
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
    print(f"{snapshot['kind']} {snapshot['pid']}, mode {snapshot['mode']}")
    rows = _l1_rows(snapshot)
    if snapshot["kind"] == "proxy":
        _print_addresses(snapshot)
        rows = [*_client_rows(snapshot), *rows]
    print_table(rows, indent=2)
    for title, counts in (
        ("bypassed", snapshot["bypasses"]),
        ("passed through", snapshot.get("pass_through", {})),
    ):
        for reason, count in sorted(counts.items(), key=lambda item: -item[1]):
            print(f"  {title} {count}: {reason}")
    _print_prefetch(snapshot)
    for link in snapshot["links"]:
        print(f"  link {_link_name(link)}: {link['state']} {link['reason']}".rstrip())


def _print_prefetch(snapshot: dict[str, Any]) -> None:
    """What was loaded ahead, and by which rules."""
    counted = snapshot.get("prefetch") or {}
    if not counted.get("events"):
        return
    issued = counted["issued"]
    right = (counted["used"] + counted["late"]) / issued if issued else 0
    said = f", {right:.0%} of them asked for" if issued else ""
    trusted = f"{counted['trusted']} of {counted['rules']} rules are acted on"
    print(f"  loaded ahead {issued}{said}; {trusted}")
    print_table([_predictor_row(name, counted, snapshot) for name in PREDICTORS], indent=4)
    rules = snapshot.get("rules")
    if rules is None:
        rules = [rule for link in snapshot["links"] for rule in link.get("rules", [])]
    rows = [
        (
            f"{rule['source']} -> {rule['target']}",
            f"{rule['precision']:.0%} of {rule['trials']}",
            f"{rule['issued']} sent" if rule["trusted"] else f"not acted on: {rule['why_not']}",
        )
        for rule in rules[:RULES_SHOWN]
    ]
    print_table(rows, indent=4)


def _predictor_row(name: str, counted: dict[str, int], snapshot: dict[str, Any]) -> tuple[str, ...]:
    """One predictor: what became of its reads, and why it sends none."""
    of = {word: counted.get(f"{name}_{word}", 0) for word in ("issued", "used", "late", "unused")}
    became = f"{of['used']} in time, {of['late']} late, {of['unused']} in vain"
    doubt = snapshot.get("prefetch_doubts", {}).get(name, "")
    return name, f"{of['issued']} sent", became, f"at present none: {doubt}" if doubt else ""


def _link_name(link: dict[str, Any]) -> str:
    if "server" in link:
        return str(link["server"])
    return f"of {link['user'] or 'the default user'}, database {link['db']}"


def _print_addresses(snapshot: dict[str, Any]) -> None:
    state = "draining" if snapshot["draining"] else "ready"
    if not snapshot["ready"]:
        state = f"no upstream: {snapshot['problem']}"
    print(f"  {' '.join(snapshot['listen'])} -> {snapshot['upstream']}: {state}")


def _client_rows(snapshot: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What only a proxy counts: its uptime and every number the L1's rows do not show."""
    shown = {*_L1_NUMBERS, "pid", "uptime_s", "hit_rate"}
    rows = [("up", f"{snapshot['uptime_s']:.0f} s", "")]
    rows += [
        (name.replace("_", " "), str(value), "")
        for name, value in snapshot.items()
        if name not in shown and isinstance(value, int) and not isinstance(value, bool)
    ]
    return rows


RULES_SHOWN = 10
PREDICTORS = ("rules", "streams", "refetch", "renewal")
"""More are in --json."""

_L1_NUMBERS = frozenset(
    {
        *("reads", "hits", "misses", "coalesced", "bypassed", "entries", "stored", "voided"),
        *("evicted", "expired", "invalidated", "weight_bytes", "capacity_bytes"),
        *("recorded", "record_dropped"),
    }
)


def _l1_rows(snapshot: dict[str, Any]) -> list[tuple[str, str, str]]:
    bypassed = snapshot.get("bypassed", sum(snapshot["bypasses"].values()))
    count = {name: snapshot.get(name, 0) for name in _L1_NUMBERS}
    used, capacity = count["weight_bytes"], count["capacity_bytes"]
    memory = f"{approximate_size(used)} of {approximate_size(capacity)}"
    rows = [
        ("reads", str(count["reads"]), f"{snapshot['hit_rate']:.2%} served from the L1"),
        ("hits", str(count["hits"]), ""),
        ("misses", str(count["misses"]), "asked of the server and kept if it may be"),
        ("joined", str(count["coalesced"]), "waited for another's miss"),
        ("bypassed", str(bypassed), "went to the store, by reason below"),
        ("entries", str(count["entries"]), memory),
        ("stored", str(count["stored"]), f"{count['voided']} voided before they were stored"),
        ("evicted", str(count["evicted"]), "by the policy, to make room"),
        ("expired", str(count["expired"]), "by time"),
        ("invalidated", str(count["invalidated"]), "changed by somebody"),
    ]
    if count["recorded"] or count["record_dropped"]:
        rows.append(("recorded", str(count["recorded"]), f"{count['record_dropped']} dropped"))
    return rows
