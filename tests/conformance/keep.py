"""The kit for cachee and every peer in one run, kept as JSON, and the page made of it.

`python -m tests.conformance.keep` runs and keeps all; with arguments it is the kit's own command.
`python -m tests.conformance.keep again CASE…` runs some cases anew and keeps the rest;
`python -m tests.conformance.keep page` only makes the page anew.
"""

import json
import sys
import tempfile
from pathlib import Path

from cachee.conformance import report
from cachee.conformance.__main__ import main
from cachee.conformance.case import all_cases

HERE = Path(__file__).parent
KEPT, PAGE = HERE / "kit.json", HERE / "README.md"
BEGIN, END = "<!-- kit:begin -->", "<!-- kit:end -->"
EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2


def made() -> str:
    """The page's block, from the kept results."""
    return report.as_page(json.loads(KEPT.read_text()), all_cases()).strip()


def write_page() -> None:
    """Puts the block into the page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{made()}\n{END}{after}")


def keep() -> int:
    """Runs everything; the exit code is about cachee alone, peers may fail."""
    if main(["--client", "*", "--json", str(KEPT)]) == EXIT_USAGE:
        return EXIT_USAGE
    write_page()
    clients = json.loads(KEPT.read_text())["clients"]
    ours = [client for name, client in clients.items() if name.startswith("cachee")]
    outcomes = {each["outcome"] for client in ours for each in client["results"]}
    return EXIT_FAILED if outcomes & {"fail", "hang"} else EXIT_OK


def again(names: list[str]) -> int:
    """Some cases for every client, put in the place of what was kept of them."""
    chosen = [word for name in names for word in ("--case", name)]
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "some.json"
        if main(["--client", "*", "--json", str(file), *chosen]) == EXIT_USAGE:
            return EXIT_USAGE
        some = json.loads(file.read_text())
    content = json.loads(KEPT.read_text())
    for name, client in content["clients"].items():
        new = {each["case"]: each for each in some["clients"][name]["results"]}
        client["results"] = [new.get(each["case"], each) for each in client["results"]]
    KEPT.write_text(json.dumps(content, indent=1) + "\n")
    write_page()
    return EXIT_OK


if __name__ == "__main__":
    words = sys.argv[1:]
    if words == ["page"]:
        write_page()
    elif words[:1] == ["again"]:
        sys.exit(again(words[1:]))
    else:
        sys.exit(main(words) if words else keep())
