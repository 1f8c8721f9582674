"""Every example a reader can copy is run: Python and console blocks, examples, docstrings.

The Python blocks of one document are one program, in order. Where an example connects to a server
on its usual port, the test's own server stands in: the port is replaced in the text.
"""

import doctest
import importlib
import pkgutil
import re
import shlex
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import cachee
from tests.harness import scripts
from tests.harness.servers import Server

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))
CACHEE = Path(sys.executable).with_name("cachee")

# Commands of console blocks that are not run here, and why.
ELSEWHERE = {
    "cachee demo": "minutes; tests/integration/test_demo.py runs it small",
    "cachee run -- gunicorn": "serves until it is stopped; test_run.py runs programs that end",
    "cachee run -- uvicorn": "serves until it is stopped; test_run.py runs programs that end",
    "cachee run -- python app.py": "the reader's own program; test_run.py has one",
    "cachee run -- python manage.py": "the reader's own program; test_run.py has one",
    "cachee run -- celery": "serves until it is stopped; test_run.py runs programs that end",
    "cachee run --record": "the reader's own program; test_record.py has one",
    "cachee simulate": "the reader's own trace; tests/unit/test_simulate.py has one",
    "cachee audit": "needs a proxy; tests/integration/test_audit.py has one",
    "cachee proxy": "serves until it is stopped; tests/unit/test_proxy_server.py runs it",
    "cachee stats": "needs a running process; test_run.py has one",
}


def _blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}[^\n]*\n(.*?)^```", path.read_text(), re.M | re.S)


def _with_port(text: str, server: Server) -> str:
    """The same text with the test's server in place of the usual one."""
    text = re.sub(
        r"\b((?:redis|valkey|aioredis)(?:\.asyncio)?\.(?:Redis|Valkey))\((?![^)]*\bport=)",
        rf"\1(port={server.port}, ",
        text,
    )
    return re.sub(r"\b6379\b", str(server.port), text)


def _run(text: str, server: Server, tmp_path: Path) -> str:
    program = tmp_path / "example.py"
    program.write_text(_with_port(text, server))
    variables = {
        "REDIS_URL": f"redis://127.0.0.1:{server.port}/0",
        "VALKEY_URL": f"valkey://127.0.0.1:{server.port}/0",
    }
    result = scripts.call([sys.executable, "-W", "error", str(program)], **variables)
    return scripts.succeeds(result)


def _named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize(
    "path", [each for each in DOCUMENTS if _blocks(each, "python")], ids=_named
)
def test_the_python_of_a_document_runs(path: Path, server: Server, tmp_path: Path) -> None:
    _run("\n".join(_blocks(path, "python")), server, tmp_path)


@pytest.mark.parametrize("path", EXAMPLES, ids=_named)
def test_an_example_runs(path: Path, server: Server, tmp_path: Path) -> None:
    _run(path.read_text(), server, tmp_path)


def _commands() -> Iterator[str]:
    for path in DOCUMENTS:
        for language in ("console", "sh", "bash", "shell"):
            for block in _blocks(path, language):
                for line in block.splitlines():
                    command = line.removeprefix("$ ").partition("  #")[0].strip()
                    if command.startswith("cachee "):
                        yield command


@pytest.mark.parametrize("command", sorted(set(_commands())))
def test_a_command_of_a_document_runs(command: str, server: Server) -> None:
    for beginning, reason in ELSEWHERE.items():
        if command.startswith(beginning):
            pytest.skip(reason)
    words = shlex.split(_with_port(command, server))
    result = scripts.call([str(CACHEE), *words[1:]])
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr


def test_the_readme_has_something_to_run() -> None:
    assert _blocks(ROOT / "README.md", "python")


NOT_IMPORTED = {
    "cachee.auto": "importing it installs",
    "cachee._core": "native",
    "cachee.demo.app": "an application: importing it reads its configuration and connects",
}


def _modules() -> list[str]:
    return [
        info.name
        for info in pkgutil.walk_packages(cachee.__path__, "cachee.")
        if info.name not in NOT_IMPORTED
        and "_bootstrap" not in info.name
        and not info.name.endswith("__main__")
    ]


@pytest.mark.parametrize("name", ["cachee", *_modules()])
def test_the_examples_of_docstrings(name: str) -> None:
    """Their last line is what a reader sees; none may leave cachee installed."""
    try:
        module = importlib.import_module(name)
    except ImportError as missing:
        pytest.skip(f"an optional dependency is missing: {missing}")
    failed, _ = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert failed == 0
    assert cachee.stats().mode == "off"


def _docstring_blocks() -> list[tuple[str, str]]:
    """Fenced Python in docstrings of the public names."""
    return [
        (name, block)
        for name in cachee.__all__
        for block in re.findall(
            r"^ *```python\n(.*?)^ *```", getattr(cachee, name).__doc__ or "", re.M | re.S
        )
    ]


def test_the_fenced_python_of_docstrings_runs(server: Server, tmp_path: Path) -> None:
    for _, block in _docstring_blocks():
        _run("import cachee\nfrom cachee import *\n" + textwrap.dedent(block), server, tmp_path)
