"""The conformance kit: cachee passes every case, and every planted mistake is caught by name."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cachee.conformance import run
from cachee.conformance.__main__ import main
from cachee.conformance.case import PARTS, all_cases
from cachee.conformance.clients import NAMES
from cachee.conformance.verdict import Outcome
from tests.conformance import keep
from tests.harness.servers import Server

OURS = [name for name in NAMES if name.startswith("cachee")]
# The two faces that are left have the same hooks; `make conformance` runs them all.
PLAYED = ("cachee", "cachee-asyncio", "cachee-proxy")

# What cannot be asked of cachee's clients, and why; everything else passes.
NOT_ASKED = {
    "threads.cancelled-read": ("cachee", "cachee-proxy"),
    "threads.fork": ("cachee-asyncio",),
    "expiry.hash-field": PLAYED,
}

# One planted mistake each (`mistakes.py`), and the cases that must name it.
MISTAKES = {
    "NeverInvalidates": ("hits.foreign-write", "stream.write-behind-the-reply"),
    "IgnoresTheFlush": ("flush.flushall", "flush.flushdb"),
    "StoresAfterTheReader": ("stream.write-behind-the-reply",),
    "KeepsWhatWasLost": ("lost.cut", "lost.killed-by-the-server"),
    "TrustsSilence": ("lost.silent",),
    "IgnoresExpiry": ("expiry.key-that-ends",),
    "WaitsToBeTold": ("own.set",),
    "SharesDatabases": ("identity.databases",),
    "SharesObjects": ("replies.changed-list",),
    "ServesUnderWatch": ("transactions.read-under-watch",),
    "LosesTheSecondReader": ("threads.one-cold-key",),
    "GivesRepliesToTheNext": ("threads.timed-out-read",),
}
NAMED = sorted({name for names in MISTAKES.values() for name in names})


def _url(server: Server) -> str:
    return f"redis://{server.host}:{server.port}/0"


def _play(server: Server, client: str, *names: str) -> dict[str, run.Result]:
    with run.serving(_url(server), overwrite=False) as target:
        cases = [all_cases()[name] for name in names]
        return {each.case: each for each in run.run(client, cases, target, print)}


def _mistake(name: str) -> str:
    return f"tests.conformance.mistakes:{name}"


@pytest.mark.slow
@pytest.mark.parametrize("name", all_cases())
@pytest.mark.parametrize("client", PLAYED)
def test_cachee_passes(own_server: Server, client: str, name: str) -> None:
    result = _play(own_server, client, name)[name]
    if client in NOT_ASKED.get(name, ()) and result.outcome is Outcome.NOT_APPLICABLE:
        pytest.skip(result.evidence)
    assert result.outcome is Outcome.PASS, result.evidence


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_caught(own_server: Server, mistake: str) -> None:
    results = _play(own_server, _mistake(mistake), *MISTAKES[mistake])
    passed = {name: each.evidence for name, each in results.items() if not _is_bad(each)}
    assert passed == {}


def _is_bad(result: run.Result) -> bool:
    return result.outcome in (Outcome.FAIL, Outcome.HANG)


def test_the_same_client_without_a_mistake_passes(own_server: Server) -> None:
    results = _play(own_server, _mistake("Right"), *NAMED)
    assert [each for each in results.values() if each.outcome is not Outcome.PASS] == []


def test_a_client_that_never_caches_passes_nothing(own_server: Server) -> None:
    results = _play(own_server, _mistake("NeverCaches"), *NAMED)
    assert {each.outcome for each in results.values()} == {Outcome.NOT_APPLICABLE}


def test_a_mistake_that_hangs_is_a_hang(own_server: Server) -> None:
    result = _play(own_server, _mistake("LosesTheSecondReader"), "threads.one-cold-key")
    assert result["threads.one-cold-key"].outcome is Outcome.HANG


@pytest.mark.parametrize("name", all_cases())
def test_every_case_says_what_it_is(name: str) -> None:
    case = all_cases()[name]
    assert case.sentence.endswith(".")
    assert list(case.parts) == list(PARTS)
    assert "https://" in case.parts["Source"]


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "--case", "lost.*"]) == 0
    shown = capsys.readouterr().out
    assert "lost.silent" in shown
    assert "hits.second-read" not in shown


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--client", "nobody"], "known are cachee"),
        (["--client", "cachee", "--case", "no.such"], "no such case"),
        (["--client", "cachee", "--server", "rediss://localhost"], "without TLS"),
        (["--client", "cachee", "--server", "redis://127.0.0.1:1"], "127.0.0.1:1"),
        (["--client", "cachee", "--server", "redis://127.0.0.1:1/5"], "databases 0 and 1"),
        (["--client", "tests.conformance.mistakes:Asked"], "no subclass"),
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
    assert main(arguments) == 2
    assert told in capsys.readouterr().err


def test_a_missing_package_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cachee.conformance.clients import coredis

    monkeypatch.setattr(coredis.Adapter, "distributions", ("no-such-package",))
    assert main(["--client", "coredis"]) == 2
    assert "pip install no-such-package" in capsys.readouterr().err


def test_a_server_with_keys_is_left_alone(
    own_server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    own_server.call("SET", "precious", "1")
    assert main(["--client", "cachee", "--server", _url(own_server)]) == 2
    assert "holds 1 keys" in capsys.readouterr().err
    assert own_server.call("GET", "precious") == b"1"


def test_the_command_from_outside(own_server: Server, tmp_path: Path) -> None:
    """Exit code, table and JSON of a run with one case that fails."""
    file = tmp_path / "results.json"
    command = [sys.executable, "-m", "cachee.conformance", "--server", _url(own_server)]
    command += ["--client", "cachee", "--client", _mistake("IgnoresTheFlush")]
    command += ["--case", "flush.flushall", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert "\x1b" not in done.stdout
    content = json.loads(file.read_text())
    ours, theirs = content["clients"].values()
    assert [each["outcome"] for each in ours["results"]] == ["pass"]
    assert [each["outcome"] for each in theirs["results"]] == ["fail"]
    assert own_server.call("DBSIZE") == 0


def test_the_page_is_made_of_the_kept_results() -> None:
    block = keep.PAGE.read_text().partition(keep.BEGIN)[2].partition(keep.END)[0]
    assert block.strip() == keep.made()


def test_the_kept_results_are_of_all_cases() -> None:
    content = json.loads(keep.KEPT.read_text())
    for name, client in content["clients"].items():
        assert [each["case"] for each in client["results"]] == list(all_cases()), name
    for name in OURS:
        outcomes = {each["outcome"] for each in content["clients"][name]["results"]}
        assert outcomes <= {"pass", "n/a"}, name
