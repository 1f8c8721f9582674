"""The programs: how each is built, once for a run, and the command line it is started with.

What a build leaves lies under `target/clients`, so that the next run finds it. A toolchain that is
not on the machine, or whose registry cannot be reached, is `Missing`, which skips its programs.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SOURCES = Path(__file__).parent
ROOT = SOURCES.parent.parent
BUILT = ROOT / "target" / "clients"
HIREDIS = "3.5.0"
MAVEN_COPY = "org.apache.maven.plugins:maven-dependency-plugin:2.8:copy-dependencies"
_BUILD_S = 400.0
_OFFLINE = (
    "ENOTFOUND",
    "EAI_AGAIN",
    "Name or service not known",
    "Temporary failure in name resolution",
    "Unknown host",
    "Network is unreachable",
    "no such host",
    "network is unreachable",
    "transfer failed",
)
# What a toolchain says of a machine on which something is too old or not there.
_UNFIT = re.compile(r"requires go >= [^)]*|Unsupported engine|openssl/ssl\.h: No such file")


class MissingError(Exception):
    """The machine cannot build this program; says why."""


@dataclass(frozen=True)
class Program:
    """One client's program."""

    toolchain: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    modes: tuple[str, ...] = ("resp2", "resp3", "tls")
    # A client that turns tracking on for itself is passed through.
    is_served: bool = True


_PLAIN = ("resp2", "resp3")

PROGRAMS = {
    "redis-py": Program("python", ("redis",)),
    "redis-py-no-hiredis": Program("python", ("redis", "--no-native-parser"), modes=_PLAIN),
    "redis-py-asyncio": Program("python", ("redis.asyncio",)),
    "redis-py-asyncio-no-hiredis": Program(
        "python", ("redis.asyncio", "--no-native-parser"), modes=_PLAIN
    ),
    "valkey-py": Program("python", ("valkey",)),
    "valkey-py-asyncio": Program("python", ("valkey.asyncio",)),
    "hiredis": Program("c", ()),
    "ioredis": Program("node", ("ioredis.js",)),
    "node-redis": Program("node", ("node_redis.js",)),
    "jedis": Program("java", ("JedisProgram",)),
    "lettuce": Program("java", ("LettuceProgram",)),
    "go-redis": Program("go", ("goredis",)),
    "rueidis": Program("go", ("rueidis",)),
    "rueidis-client-cache": Program(
        "go",
        ("rueidis",),
        {"STORE_CLIENT_CACHE": "1"},
        modes=("resp3", "tls"),
        is_served=False,
    ),
}


def _needs(*tools: str) -> None:
    for tool in tools:
        if shutil.which(tool) is None:
            raise MissingError(f"no {tool} on this machine")


def _run(*command: object, cwd: Path = SOURCES, **environment: str) -> None:
    done = subprocess.run(
        [str(each) for each in command],
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_BUILD_S,
        check=False,
    )
    said = done.stdout + done.stderr
    if done.returncode and any(sign in said for sign in _OFFLINE):
        raise MissingError(f"{Path(str(command[0])).name} cannot reach its registry")
    if done.returncode and (sign := _UNFIT.search(said)):
        raise MissingError(f"{command[0]}: {sign[0]}")
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{said}"


def _python() -> list[str]:
    return [sys.executable, "-W", "error", "-m", "tests.clients.python.program"]


def _c() -> list[str]:
    _needs("cc", "make")
    folder = BUILT / "c"
    sources = folder / f"hiredis-{HIREDIS}" / "vendor" / "hiredis"
    if not sources.exists():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        _run(*pip, "--no-binary", "hiredis", "--dest", folder, f"hiredis=={HIREDIS}")
        with tarfile.open(folder / f"hiredis-{HIREDIS}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    program = folder / "program"
    _run("make", "--silent", f"HIREDIS={sources}", f"OUT={program}", cwd=SOURCES / "c")
    return [str(program)]


def _node() -> list[str]:
    _needs("node", "npm")
    folder = BUILT / "node"
    folder.mkdir(parents=True, exist_ok=True)
    lock = (SOURCES / "node" / "package-lock.json").read_bytes()
    stamp = folder / "installed.json"
    if not stamp.exists() or stamp.read_bytes() != lock:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SOURCES / "node" / name, folder)
        options = ("--no-audit", "--no-fund", "--ignore-scripts", "--engine-strict")
        _run("npm", "ci", *options, cwd=folder)
        stamp.write_bytes(lock)
    return ["node"]


def _java() -> list[str]:
    _needs("java", "javac", "mvn")
    folder = BUILT / "java"
    pom = (SOURCES / "java" / "pom.xml").read_bytes()
    stamp = folder / "installed.xml"
    if not stamp.exists() or stamp.read_bytes() != pom:
        shutil.rmtree(folder, ignore_errors=True)
        copy = [MAVEN_COPY, f"-DoutputDirectory={folder}"]
        _run("mvn", "--quiet", "--batch-mode", *copy, cwd=SOURCES / "java")
        stamp.write_bytes(pom)
    programs = sorted((SOURCES / "java").glob("*.java"))
    _run("javac", "-nowarn", "-d", folder / "classes", "-cp", f"{folder}/*", *programs)
    # The quickest start for a program that runs for a second.
    start = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]
    return ["java", *start, "-cp", f"{folder}/classes:{folder}/*"]


def _go() -> list[str]:
    _needs("go")
    folder = BUILT / "go"
    folder.mkdir(parents=True, exist_ok=True)
    _run("go", "build", "-o", f"{folder}/", "./...", cwd=SOURCES / "go", GOTOOLCHAIN="local")
    return [str(folder)]


_BUILDERS: dict[str, Callable[[], list[str]]] = {
    "python": _python,
    "c": _c,
    "node": _node,
    "java": _java,
    "go": _go,
}


def build(toolchain: str) -> list[str]:
    """Builds what a toolchain's programs need; returns how their command lines begin."""
    return _BUILDERS[toolchain]()


def command_line(program: Program, built: list[str]) -> list[str]:
    """The command that starts a program."""
    if program.toolchain == "go":
        return [f"{built[0]}/{program.arguments[0]}"]
    if program.toolchain == "node":
        return [*built, str(SOURCES / "node" / program.arguments[0])]
    return [*built, *program.arguments]


def environment(program: Program, store: Mapping[str, str]) -> dict[str, str]:
    """What a program finds in its environment."""
    modules = {"NODE_PATH": str(BUILT / "node" / "node_modules")}
    return {**os.environ, **modules, **program.environment, **store}
