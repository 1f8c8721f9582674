"""`cachee bench` without a server: which cases, what is made of rounds, peers' configurations."""

import json
import os
import signal
import socket
import threading

import pytest

from cachee import _core, cli
from cachee.bench import peers, report
from cachee.bench.cases import FAR, TCP, Case, all_cases
from cachee.bench.contenders import CACHEE, DIRECT, RELAY
from cachee.bench.rounds import MEDIANS, Result, Row, Settings

HITS = Case("get", 16, in_time=True)
FAR_HITS = Case("get", 1, route=FAR, in_time=True)


def test_names_of_cases_are_names():
    names = [case.name for case in all_cases()]
    assert len(set(names)) == len(names)
    assert HITS in all_cases()
    assert FAR_HITS in all_cases()


def test_only_picks_cases_by_name():
    found = Settings(only=("get P=16 100 B TCP",)).cases()
    assert found[0] == HITS
    assert {(case.operation, case.pipeline) for case in found} == {("get", 16)}
    assert {case.operation for case in Settings(only=("set*", "mget*")).cases()} == {"set", "mget"}
    assert [c.name for c in Settings(among=("relay",)).contenders()] == [DIRECT, RELAY]


def test_the_open_loop_stays_below_what_is_possible():
    assert Case("get", 16).rate_per_s(400_000) == 200_000
    assert FAR_HITS.rate_per_s(40_000) == 2_000
    assert FAR_HITS.rate_per_s(1_000) == 500


def row(contender, case, rate_per_s=None, **figures):
    rounds = [{**dict.fromkeys(MEDIANS, 1.0), **figures} for _ in range(3)]
    return Row(contender, case, rate_per_s, rounds=rounds)


def result(*rows):
    machine = {"cachee": "1", "server": "Valkey 8", "cores": 2, "processor": "a processor"}
    return Result(Settings(), list(rows), machine | {"load_before": 0.0, "load_after": 0.0})


def test_bars_hold_or_are_missed():
    found = result(
        row(DIRECT, HITS, throughput_per_s=100.0, server_cpu_us=2.0),
        row(CACHEE, HITS, throughput_per_s=140.0, proxy_cpu_us=0.8),
        row(RELAY, HITS, throughput_per_s=70.0),
        row(DIRECT, HITS, 50.0, latency_us_p99=100.0),
        row(CACHEE, HITS, 50.0, latency_us_p99=90.0),
    )
    verdicts = {bar.what.partition(": ")[2]: bar.verdict for bar in report.bars(found)}
    assert verdicts == {
        "CPU of cachee over the server's own": "holds",
        "throughput over the server's": "MISSED",
        "p99 at half load over the server's": "holds",
        "throughput over a byte relay's": "won",
    }
    text = report.as_text(found)
    assert "1.40x" in text
    assert "[MISSED] GET, hits, P=16, TCP: throughput over the server's: 1.40x (≥ 1.5x)" in text
    assert json.loads(json.dumps(report.as_json(found)))["bars"][0]["holds"] is True


def test_latency_to_a_far_server_is_that_of_the_open_loop():
    found = result(
        row(DIRECT, FAR_HITS, latency_us_p50=4_000.0),
        row(CACHEE, FAR_HITS, latency_us_p50=10.0),
        row(DIRECT, FAR_HITS, 2_000.0, latency_us_p50=1_100.0),
        row(CACHEE, FAR_HITS, 2_000.0, latency_us_p50=50.0),
    )
    (bar,) = report.bars(found)
    assert bar.ratio == 22
    assert bar.verdict == "holds"


def test_who_is_absent_is_not_measured():
    absent = Row(CACHEE, HITS, None, failed="no\n  such command")
    found = result(row(DIRECT, HITS), absent)
    assert {bar.verdict for bar in report.bars(found)} == {"not measured"}
    assert "not measured: cachee proxy: such command" in report.as_text(found)
    assert report.as_json(found)["rows"][1]["failed"] == "no\n  such command"


def test_who_falls_behind_in_the_open_loop_says_so():
    behind = Row(RELAY, HITS, 50.0, failed="commands were without an answer")
    text = report.as_text(result(row(DIRECT, HITS), row(RELAY, HITS), behind))
    assert report.BEHIND in text
    assert "not measured: a byte relay on get P=16 100 B TCP: commands" in text


@pytest.mark.parametrize("peer", peers.PEERS, ids=lambda peer: peer.name)
@pytest.mark.parametrize("upstream", ["tcp://127.0.0.1:6001", "unix:/run/a.sock"])
def test_peers_are_told_where_and_with_which_password(peer, upstream):
    text = peer.configure("tcp://127.0.0.1:6000", upstream, "secret")
    assert "6000" in text
    assert upstream.rpartition(":")[2] in text
    assert text.count("secret") in (1, 2)
    assert "tcp://" not in text


def test_wrong_flags_are_told(capsys):
    for words, told in [
        (("--only", "nothing"), "no case"),
        (("--rounds", "0"), "--rounds 0"),
        (("--seconds", "0"), "--seconds 0"),
        (("--json", "/nowhere/at/all.json"), "--json /nowhere"),
    ]:
        assert cli.main(["bench", "proxy", *words]) == 2
        assert told in capsys.readouterr().err
    assert cli.main(["bench", "--list", "--only", "set P=1 100 B TCP"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == Case("set", 1, route=TCP).name


@pytest.mark.parametrize(
    ("address", "wrong"),
    [
        ("redis://127.0.0.1:1", {}),
        ("tcp://127.0.0.1", {}),
        ("tcp://127.0.0.1:1", {"operation": "del"}),
        ("tcp://127.0.0.1:1", {"seconds": -1.0}),
    ],
)
def test_a_load_that_cannot_be(address, wrong):
    with pytest.raises(ValueError, match=r"must be|is not"):
        _core.generate_load(address, **wrong)


def test_a_load_nobody_listens_to():
    with pytest.raises(ConnectionRefusedError):
        _core.generate_load("tcp://127.0.0.1:1")
    with pytest.raises(OSError, match="connection for each thread"):
        _core.generate_load("tcp://127.0.0.1:1", threads=2, connections=1)


def test_a_load_is_interrupted():
    """The server greets and then says nothing more; the signal comes once the load has asked."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"+PONG\r\n")
                connection.recv(1 << 16)
                os.kill(os.getpid(), signal.SIGINT)
                connection.recv(1 << 16)

        thread = threading.Thread(target=serve)
        thread.start()
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(KeyboardInterrupt):
            _core.generate_load(address, connections=1, seconds=60.0)
        thread.join()
