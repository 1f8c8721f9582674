"""`python -m benchmarks [--quick] [NAME…] | render | list`: measure, keep, show."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time

from benchmarks import clients, contest, environment, records, render, servers
from benchmarks.figures import ORDER


def main() -> int:
    """Measure the named figures (all without a name), then render the tables."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(ORDER)}, or render")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, results not kept")
    arguments = parser.parse_args()
    if arguments.names == ["render"]:
        return render.write()
    unknown = [name for name in arguments.names if name not in ORDER]
    if unknown:
        parser.error(f"no figure {unknown[0]}; there are {', '.join(ORDER)}")
    environment.enter()
    _measure(arguments.names or list(ORDER), quick=arguments.quick)
    return 0 if arguments.quick else render.write()


def _measure(names: list[str], *, quick: bool) -> None:
    started = time.monotonic()
    for name, reason in environment.missing().items():
        print(f"not installed: {name}: {reason}")
    with servers.running() as server:
        clients.fill(server)
        session = contest.Session(server, quick=quick)
        for name in names:
            _one(name, session, server)
    print(f"\n{len(names)} figures in {time.monotonic() - started:.0f} s, load {os.getloadavg()}")


def _one(name: str, session: contest.Session, server: servers.Server) -> None:
    figure = importlib.import_module(f"benchmarks.figures.{name}")
    started = time.monotonic()
    before = records.machine(server.section("server"))
    result = figure.run(session)
    made_of = sorted({"cachee", *(d for c in figure.CONTENDERS for d in c.distributions)})
    content = {
        "name": figure.NAME,
        "title": figure.TITLE,
        "method": figure.METHOD,
        "machine": {**before, "load_after": os.getloadavg()[0]},
        "versions": environment.versions(made_of),
        "not_installed": environment.missing(),
        "columns": getattr(figure, "COLUMNS", contest.COLUMNS),
        "quick": session.quick,
        "seconds": round(time.monotonic() - started, 1),
        "checks": records.checks_as_dicts(figure.checks(result)),
        **result,
    }
    if not session.quick:
        records.write(name, content)
    print(render.as_text(content), flush=True)


if __name__ == "__main__":
    sys.exit(main())
