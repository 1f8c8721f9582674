"""`cachee bench proxy`, small: who is there is measured, who is not is named."""

import json
import sys
from pathlib import Path

from cachee.bench.contenders import DIRECT, RELAY
from tests.harness import scripts

CACHEE = Path(sys.executable).with_name("cachee")


def test_the_relay_is_measured_beside_the_server(tmp_path):
    file = tmp_path / "out.json"
    only = ["get P=16 100 B *", "missing P=1 100 B TCP", "mget P=1 100 B Unix*", "set P=1 65536*"]
    words = [word for glob in only for word in ("--only", glob)]
    command = [str(CACHEE), "bench", "proxy", "--rounds", "1", "--seconds", "0.05", *words]
    done = scripts.call([*command, "--among", "relay", "--json", str(file)])
    assert "the server itself" in scripts.succeeds(done)
    found = json.loads(file.read_text())
    assert {row["contender"] for row in found["rows"]} == {DIRECT, RELAY}
    for row in found["rows"]:
        assert "failed" not in row, row
        assert row["throughput_per_s"] > 0
        assert row["server_commands_per_operation"] == 1, row
        assert (row["proxy_cpu_us"] is None) == (row["contender"] == DIRECT)
    far = [row for row in found["rows"] if "away" in row["route"] and row["loop"] == "open"]
    assert {row["contender"] for row in far} == {DIRECT, RELAY}
    assert all(row["latency_us_p50"] >= 1_000 for row in far), far
