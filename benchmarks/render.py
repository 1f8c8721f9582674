"""Tables from the kept results: the block in README.md, benchmarks/README.md, and the terminal."""

from __future__ import annotations

from pathlib import Path

from benchmarks import environment, records
from benchmarks.figures import ORDER
from benchmarks.highlights import LINES

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
PAGE = Path(__file__).resolve().parent / "README.md"
VERDICTS = {
    (True, True): "holds",
    (True, False): "**missed**",
    (False, True): "won",
    (False, False): "**lost**",
}
PREAMBLE = """# Benchmarks

`make bench` measures all of it in one run and rewrites this page and the table in the main README
from the raw results in `results/`; `make bench ARGS="--quick"` is a short look that keeps nothing;
`python -m benchmarks NAME…` measures some; `python -m benchmarks render` only rewrites.

Every contender has a process of its own and is measured in turn, round by round, so that a slow
second of the machine hits all alike; reported are the median over rounds and the least chunk. The
dict beside it is asked in the same process a moment earlier. Nothing is pinned to a core, the
garbage collector is off while timing. A stated target holds or is missed; a comparison without a
stated target is won or lost; both are shown. Absolute figures depend on
the machine, ratios hardly. Peers come into `target/bench-env`; one that cannot be installed is
named below. The server is the embedded Valkey, or the program `CACHEE_BENCH_SERVER` names.
"""


def write() -> int:
    """Rewrite both tables from the kept results."""
    contents = [content for name in ORDER if (content := records.read(name))]
    page = [PREAMBLE, *_caveats(contents), "## Targets\n", _targets(contents)]
    for content in contents:
        page += [
            f"## {content['title']}\n",
            content["method"] + "\n",
            _rows(content),
            _made(content),
        ]
    PAGE.write_text("\n".join(page).rstrip() + "\n")
    _replace_block(environment.ROOT / "README.md", _summary(contents))
    return 0


def as_text(content: dict) -> str:
    """One figure for the terminal."""
    lines = ["", f"== {content['name']}: {content['title']} ({content['seconds']} s)"]
    lines += [_text_row(content["columns"], row) for row in content["rows"]]
    for check in content["checks"]:
        verdict = _verdict(check).strip("*")
        lines.append(f"  [{verdict}] {check['what']}: {check['measured']} ({check['target']})")
    return "\n".join(lines)


def _verdict(check: dict) -> str:
    return VERDICTS.get((check["stated"], check["holds"]), "not measured")


def _text_row(columns: list, row: dict) -> str:
    if "failed" in row:
        return f"  {row['contender']}: failed: {row['failed']}"
    shown = [f"{heading} {cell}" for heading, *_, cell in _cells(columns, row) if cell != "-"]
    return "  " + " | ".join(text.strip() for text in shown)


def _cells(columns: list, row: dict) -> list[tuple[str, str]]:
    return [(heading, _cell(row.get(field), unit)) for heading, field, unit in columns]


def _cell(value: object, unit: str) -> str:
    if value is None:
        return "-"
    if not isinstance(value, int | float):
        return str(value)
    if unit == "µs":
        return records.number(value / 1_000)
    if unit == "%":
        return f"{value * 100:.1f} %"
    return records.number(value)


def _rows(content: dict) -> str:
    columns = content["columns"]
    used = [c for c in columns if any(row.get(c[1]) is not None for row in content["rows"])]
    lines = [_line([heading for heading, *_ in used]), _line(["---"] * len(used))]
    failed = []
    for row in content["rows"]:
        if "failed" in row:
            failed.append(f"- {row['contender']}: failed: `{row['failed']}`")
        else:
            lines.append(_line([cell for _, cell in _cells(used, row)]))
    notes = [f"- {row['contender']}: {row['note']}" for row in content["rows"] if row.get("note")]
    notes = list(dict.fromkeys(notes))
    return "\n".join([*lines, "", *failed, *notes, ""])


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _made(content: dict) -> str:
    machine = content["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    absent = "".join(f"; not installable: {name}" for name in content["not_installed"])
    return (
        f"<sub>{machine['date']}, {machine['cores']} cores of {machine['processor']}, "
        f"load {machine['load_before']:.2f}-{machine['load_after']:.2f}, {machine['python']}, "
        f"{machine['server']}; {versions}{absent}; {content['seconds']} s, "
        f"commit {machine['commit']}. Raw: `results/{content['name']}.json`.</sub>\n"
    )


def _targets(contents: list[dict]) -> str:
    checks = [check for content in contents for check in content["checks"]]
    return "\n".join([*_check_lines(checks), ""])


def _check_lines(checks: list[dict]) -> list[str]:
    lines = [_line(["what", "bound", "measured", ""]), _line(["---"] * 4)]
    for check in checks:
        cells = (check["what"], check["target"], check["measured"])
        lines.append(_line([*cells, _verdict(check)]))
    return lines


def _caveats(contents: list[dict]) -> list[str]:
    """What a reader must know before believing the figures: a busy machine, figures not there."""
    told = []
    # One worker and the server run at a time; what is above the cores' number was not ours.
    busy = [c["name"] for c in contents if c["machine"]["load_after"] > c["machine"]["cores"] + 0.5]
    if busy:
        told.append(f"**Provisional, measured on a busy machine:** {', '.join(busy)}.\n")
    measured = {content["name"] for content in contents}
    absent = [name for name in ORDER if name not in measured]
    if absent:
        told.append(f"**Not measured yet:** {', '.join(absent)}.\n")
    return told


def _summary(contents: list[dict]) -> str:
    """Side by side with others, and every target missed and comparison lost."""
    results = {content["name"]: content for content in contents}
    lines = [_line(["", "cachee", "a dict", "others"]), _line(["---"] * 4)]
    lines += [_line(cells) for highlight in LINES if (cells := highlight.cells(results))]
    checks = [check for content in contents for check in content["checks"]]
    stated = [check for check in checks if check["stated"]]
    held = sum(bool(check["holds"]) for check in stated)
    lines += ["", *_caveats(contents)]
    lines += [f"{held} of {len(stated)} stated targets hold. Missed, lost or not measured:", ""]
    return "\n".join([*lines, *_check_lines([c for c in checks if not c["holds"]]), ""])


def _replace_block(path: Path, text: str) -> None:
    if not path.exists():
        return
    before, begin, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if begin and end:
        path.write_text(f"{before}{BEGIN}\n{text}{END}{after}")
