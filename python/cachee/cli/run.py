"""`cachee run -- COMMAND`: any Python program with the in-process L1, nothing in it changed.

The problem: the program may be a script, a module, gunicorn, uvicorn or a shell script that starts
any of them, and its workers may be forked or started anew. The idea: Python imports `sitecustomize`
at start, from the first place on its path that has one. A directory that holds only that file is
put in front of PYTHONPATH; the file installs cachee and then runs the sitecustomize it hides. The
environment is inherited, so every child Python is served too; forks are served by the engine
itself.

Limits, which are Python's own: `python -S` (no site), `-I` and `-E` (environment ignored) never
import it, and neither does a program frozen into one executable. Such a program needs
`import cachee.auto` as its first line.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from cachee._errors import CacheeError
from cachee._settings import TABLE
from cachee._sources import load_settings, settings_environment

SUMMARY = "run a Python program with the in-process L1, without changing it"
EPILOG = """\
examples:
  cachee run -- python app.py
  cachee run -- gunicorn app:app --workers 4          workers, forked or not, are served too
  cachee run --mode observe -- uvicorn app:app        what would be gained, nothing is served
  cachee run --exclude 'lock:*,tmp:*' --max-memory 64mb -- celery -A app worker
  cachee run --overrides 'session: mode=off' -- flask run

python -S, -I and -E ignore what this sets up; there, use `import cachee.auto` as the first line.

COMMAND is looked for in cachee's own virtual environment first, then on PATH.

exit codes: those of COMMAND; 2 wrong setting, 127 COMMAND not found
"""

BOOTSTRAP_DIRECTORY = Path(__file__).resolve().parent.parent / "_bootstrap"
EXIT_NOT_FOUND = 127
PID_VARIABLE = "CACHEE_INTERNAL_PID"
"""Tells the started program, which keeps this pid, from its children."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one flag a setting, and the command."""
    for row in TABLE.values():
        parser.add_argument(
            row.flag,
            dest=f"setting_{row.name}",
            metavar=row.unit.upper().replace(" ", "_"),
            help=f"{row.meaning} ({row.allowed})".replace("%", "%%"),
        )
    parser.add_argument("program", nargs=argparse.REMAINDER, metavar="-- COMMAND")


def run(arguments: argparse.Namespace) -> int:
    """Become COMMAND; returns only when it cannot be started."""
    program = list(arguments.program)
    if program[:1] == ["--"]:
        program = program[1:]
    if not program:
        raise CacheeError("no command given, as in: cachee run -- python app.py")
    given = {
        name: value
        for name in TABLE
        if (value := getattr(arguments, f"setting_{name}")) is not None
    }
    load_settings({**given}, source="a flag")
    path = _find(program[0])
    if path is None:
        print(f"cachee run: {program[0]}: not found", file=sys.stderr)
        return EXIT_NOT_FOUND
    environment = dict(os.environ)
    environment.setdefault(TABLE["stats_socket"].variable, "on")
    environment.update(settings_environment(given))
    environment[PID_VARIABLE] = str(os.getpid())
    environment["PYTHONPATH"] = _python_path(environment.get("PYTHONPATH"))
    sys.stdout.flush()
    sys.stderr.flush()
    return _become([path, *program[1:]], environment)


def _find(name: str) -> str | None:
    """Beside cachee's own Python first: what is started must be able to import cachee."""
    if os.sep not in name and sys.prefix != sys.base_prefix:
        beside = shutil.which(name, path=str(Path(sys.executable).parent))
        if beside is not None:
            return beside
    return shutil.which(name)


def _become(program: list[str], environment: dict[str, str]) -> int:
    """Never returns; it has a value so that every way out of a command has one.

    The first word stays the full path: a Python finds its virtual environment by it.
    """
    os.execve(program[0], program, environment)


def _python_path(inherited: str | None) -> str:
    """The bootstrap directory first, each entry once: `cachee run` may be nested."""
    first = str(BOOTSTRAP_DIRECTORY)
    rest = [entry for entry in (inherited or "").split(os.pathsep) if entry and entry != first]
    return os.pathsep.join([first, *rest])
