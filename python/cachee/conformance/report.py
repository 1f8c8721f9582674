"""Results on a terminal, as JSON, and as the page that is made of the JSON."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from cachee.conformance.case import Case
from cachee.conformance.run import Result
from cachee.conformance.verdict import Outcome

COLOURS = {
    Outcome.PASS: "32",
    Outcome.FAIL: "31",
    Outcome.HANG: "35",
    Outcome.NOT_APPLICABLE: "2",
}
MARKS = {"pass": "pass", "fail": "**fail**", "hang": "**hang**", "n/a": "·"}
EVIDENCE_COLUMNS = 160


def line(result: Result, width: int, *, colours: bool) -> str:
    """One result: outcome, case, evidence."""
    word = result.outcome.value.ljust(4)
    if colours:
        word = f"\x1b[{COLOURS[result.outcome]}m{word}\x1b[0m"
    return f"{word}  {result.case.ljust(width)}  {result.evidence[:EVIDENCE_COLUMNS]}"


def counts(results: Iterable[Result]) -> str:
    """How many ended how: "60 pass, 2 fail"."""
    found = Counter(result.outcome for result in results)
    return ", ".join(f"{found[each]} {each.value}" for each in Outcome if found[each])


def overview(cases: Sequence[str], clients: dict[str, list[Result]]) -> list[list[str]]:
    """A row a case, a column a client."""
    rows = [["case", *clients]]
    for name in cases:
        found = [
            next((each.outcome.value for each in results if each.case == name), "")
            for results in clients.values()
        ]
        rows.append([name, *found])
    return rows


def as_json(
    about: dict[str, str], clients: dict[str, list[Result]], kept: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Everything a run found; `kept` has what is known of each client."""
    return {
        "date": dt.datetime.now(dt.timezone.utc).date().isoformat(),
        **about,
        "clients": {
            name: {
                **kept[name],
                "results": [
                    {
                        "case": each.case,
                        "outcome": each.outcome.value,
                        "evidence": each.evidence,
                        "seconds": each.seconds,
                    }
                    for each in results
                ],
            }
            for name, results in clients.items()
        },
    }


def as_page(content: dict[str, Any], cases: dict[str, Case]) -> str:
    """The Markdown of a kept run: one table of outcomes, then what went wrong for each client."""
    clients: dict[str, dict[str, Any]] = content["clients"]
    lines = [
        "| case | " + " | ".join(clients) + " |",
        "|---|" + "---|" * len(clients),
    ]
    by_client = {
        name: {each["case"]: each for each in client["results"]} for name, client in clients.items()
    }
    for name in cases:
        marks = [
            MARKS.get(found.get(name, {}).get("outcome", ""), "") for found in by_client.values()
        ]
        lines.append(f"| `{name}` | " + " | ".join(marks) + " |")
    totals = [_total(client["results"]) for client in clients.values()]
    lines += ["| pass / fail / hang / n.a. | " + " | ".join(totals) + " |", ""]
    lines += [f"{content['server']}, Python {content['python']}, {content['date']}.", ""]
    for name, client in clients.items():
        lines += _client_section(name, client)
    return "\n".join(lines)


def _total(results: list[dict[str, Any]]) -> str:
    found = Counter(each["outcome"] for each in results)
    return " / ".join(str(found[each.value]) for each in Outcome)


def _client_section(name: str, client: dict[str, Any]) -> list[str]:
    versions = ", ".join(f"{each} {version}" for each, version in client["versions"].items())
    note = f" ({client['note']}.)" if client.get("note") else ""
    lines = [f"### {name}", "", f"{versions}. {client['opened']}{note}", ""]
    wrong = [each for each in client["results"] if each["outcome"] in ("fail", "hang")]
    lines += [f"- `{each['case']}` {each['outcome']}: {_plain(each['evidence'])}" for each in wrong]
    if not wrong:
        lines.append("Nothing failed and nothing hung.")
    absent = [each for each in client["results"] if each["outcome"] == "n/a"]
    lines += ["", *_not_applicable(absent)] if absent else []
    return [*lines, ""]


def _not_applicable(results: list[dict[str, Any]]) -> list[str]:
    reasons: dict[str, list[str]] = {}
    for each in results:
        reasons.setdefault(_plain(each["evidence"]), []).append(f"`{each['case']}`")
    told = [f"{', '.join(names)} ({reason})" for reason, names in reasons.items()]
    return ["Not applicable: " + "; ".join(told) + "."]


def _plain(text: str) -> str:
    """Evidence as Markdown shows it unchanged."""
    return "".join(f"\\{letter}" if letter in "\\`*_<>|[]" else letter for letter in text)
