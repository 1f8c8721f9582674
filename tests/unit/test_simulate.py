"""`cachee simulate`: files in, hit rates out."""

import json
import random
import struct
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from cachee import _trace_file
from cachee._core import Trace
from cachee.cli import main

WALK = [number for _ in range(60) for number in range(1400)]


def _packed(codes: list[int]) -> bytes:
    return struct.pack(f"<{len(codes)}Q", *codes)


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    path = tmp_path / "walk.u64"
    path.write_bytes(_packed(WALK))
    return path


def _rows(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, float]]:
    assert main(["simulate", *words, "--json"]) == 0
    rows: list[dict[str, float]] = json.loads(capsys.readouterr().out)["rows"]
    return rows


def test_a_walk_over_more_than_fits(walk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small, large = _rows(capsys, str(walk), "--sizes", "70%,100%")
    assert (small["entries"], large["entries"]) == (980, 1400)
    assert small["lru"] == 0
    assert small["cachee"] <= small["belady"] < 0.75
    assert small["predicted"] + small["joined"] > 0.9, "more than any cache without prediction"
    assert small["waiting"] < 0.3
    assert small["precision"] > 0.9
    assert 0 < small["prediction_bytes"] < small["capacity_bytes"] / 4
    assert large["lru"] == large["belady"] == pytest.approx(59 / 60)


def test_what_has_no_order_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = random.Random(3)
    path = tmp_path / "random.u64"
    path.write_bytes(_packed([int(draw.random() ** 3 * 20_000) for _ in range(100_000)]))
    for row in _rows(capsys, str(path), "--sizes", "5%,20%"):
        assert row["predicted"] + row["joined"] > row["cachee"] - 0.005
        assert row["traffic"] < 1.05


def test_several_clients_share_the_cache(walk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (alone,) = _rows(capsys, str(walk), "--sizes", "70%")
    (many,) = _rows(capsys, str(walk), "--sizes", "70%", "--clients", "7")
    assert many != alone
    assert many["predicted"] + many["joined"] > 0.9


def test_a_sample_says_about_the_same(walk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (whole,) = _rows(capsys, str(walk), "--sizes", "1mb")
    (part,) = _rows(capsys, str(walk), "--sizes", "1mb", "--sample", "4")
    assert part["capacity_bytes"] == whole["capacity_bytes"] // 4
    assert part["belady"] == pytest.approx(whole["belady"], abs=0.05)


@pytest.mark.parametrize(
    ("name", "one_in"),
    [
        ("trace-1in4-4242.u64", 4),
        ("trace-1in16-4242-2.u64", 16),
        ("a-1in3-1in4-7.u64", 4),
        ("trace-4242.u64", 1),
        ("trace-1in4.u64", 1),
        ("trace-1in4-4242.u64.part", 1),
    ],
)
def test_the_name_of_a_recorded_file_tells_its_sample(
    walk: Path, capsys: pytest.CaptureFixture[str], name: str, one_in: int
) -> None:
    recorded = walk.rename(walk.with_name(name))
    (whole,) = _rows(capsys, str(recorded), "--sizes", "1mb")
    (share,) = _rows(capsys, str(recorded), "--sizes", "10%")
    assert whole["capacity_bytes"] == 1024**2 // one_in
    assert share["entries"] == 140, "a share is one of the keys in the file"


def test_the_curves(walk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "curves.svg"
    assert main(["simulate", str(walk), "--sizes", "10%,70%", "--plot", str(path)]) == 0
    names = {each.text for each in ET.parse(path).iter() if each.tag.endswith("text")}
    assert {"LRU", "cachee", "Belady", "predicting", "70%"} <= names
    nowhere = str(tmp_path / "no" / "curves.svg")
    assert main(["simulate", str(walk), "--sizes", "10%", "--plot", nowhere]) == 2
    assert "curves.svg" in capsys.readouterr().err


def test_without_prediction(walk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = _rows(capsys, str(walk), "--sizes", "1mb", "--prediction", "off")
    assert row["entries"] == 1024**2 // (1024 + Trace.ENTRY_OVERHEAD_BYTES)
    assert row["predicted"] is None


def test_the_table(walk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", str(walk), "--sizes", "70%,1mb"]) == 0
    out = capsys.readouterr().out
    assert "84000 requests of 1400 keys; an infinite cache would have 98.33%" in out
    assert "predicting" in out
    assert "70% (1.1 MB)" in out
    assert main(["simulate", str(walk), "--sizes", "70%", "--prediction", "off"]) == 0
    assert "predicting" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    ["a\nb\na\n", "key\na\nb\na\n", "when,key\n1,a\n2,b\n\n3,a\n", 'key,x\n"a",\nb,1\na,2\n'],
)
def test_text(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    trace = _trace_file.read(path)
    assert (len(trace), trace.keys, trace.lru_hits(2)) == (3, 2, 1)


def test_zstd() -> None:
    # Written by the zstd tool: eight times the code 7.
    frame = bytes.fromhex("28b52ffd045875000020070007000300ad4400061e00161940a894")
    trace = Trace(frame)
    assert (len(trace), trace.keys, trace.lru_hits(1)) == (8, 1, 7)


def test_what_is_no_trace_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {
        "odd.u64": b"123",
        "empty.u64": b"",
        "broken.u64.zst": bytes.fromhex("28b52ffd") + b"xx",
        "other.csv": b"when,what\n1,a\n",
        "short.csv": b"when,key\n1\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    for name, said in (
        ("odd.u64", "3 bytes are no whole number of 8-byte keys"),
        ("empty.u64", "no request in it"),
        ("broken.u64.zst", "zstd"),
        ("other.csv", "no column 'key' in its first line, but when, what"),
        ("short.csv", "line 2 has 1 values, no key"),
        ("nowhere.u64", "No such file"),
    ):
        assert main(["simulate", str(tmp_path / name)]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert name in error


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--sizes", "1%,many", "'many' is neither a share, as in 10%, nor a size, as in 64mb"),
        ("--value-bytes", "0", "--value-bytes is from 1 to"),
        ("--rtt", "-1", "--rtt is from 0 to"),
        ("--think", "nan", "--think is from 0 to"),
        ("--clients", "0", "--clients is from 1 to"),
        ("--sample", "0", "--sample is from 1 to"),
        ("--sample", "1000000", "--sample: none of the keys is in a sample of 1 in 1000000"),
    ],
)
def test_wrong_flags(
    walk: Path, capsys: pytest.CaptureFixture[str], flag: str, value: str, said: str
) -> None:
    assert main(["simulate", str(walk), flag, value]) == 2
    assert said in capsys.readouterr().err


def test_json_goes_to_a_file_beside_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace, out = tmp_path / "trace.csv", tmp_path / "out.json"
    trace.write_text("key\n" + "".join(f"k{number % 40}\n" for number in range(400)))
    assert main(["simulate", str(trace), "--sizes", "10%", "--json", str(out)]) == 0
    assert "400 requests of 40 keys" in capsys.readouterr().out
    assert json.loads(out.read_text())["requests"] == 400
    absent = tmp_path / "absent" / "out.json"
    assert main(["simulate", str(trace), "--sizes", "10%", "--json", str(absent)]) == 2
    assert f"{absent}: No such file" in capsys.readouterr().err
