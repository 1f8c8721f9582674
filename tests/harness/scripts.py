"""Programs run in a process of their own: for fork, exit, gevent and `cachee run`."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0


def environment(**extra: str) -> dict[str, str]:
    """This environment, this Python first on the path, no setting of cachee in it."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CACHEE_")}
    return {**kept, "PATH": path, "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1", **extra}


def python(program: str, *arguments: object) -> list[str]:
    """The command that runs Python source with arguments."""
    return [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]


def call(
    command: list[str], *, patience_s: float = PATIENCE_S, **extra: str
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=patience_s,
        env=environment(**extra),
        check=False,
    )


def succeeds(result: subprocess.CompletedProcess[str]) -> str:
    """Its standard output, once it is sure that it ended well and silently."""
    assert result.returncode == 0, f"exit {result.returncode}\n{result.stdout}\n{result.stderr}"
    assert result.stderr == ""
    return result.stdout
