"""`python -m tests.abuse.soak --minutes 30`: ordinary work for long, while nothing may grow.

Values from 10 B to 1 MB that do not fit the budget come and go (most reads are inserts), others
change all the time, clients come, go and break off. Every ten seconds memory and files are looked
at; beside it `cachee audit` compares answers with the server. Bars: memory is the budget and what
belongs to it, neither memory nor files go on growing, no answer is wrong.
"""

import argparse
import contextlib
import itertools
import json
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from cachee._core import generate_load
from tests.abuse.crowd import connection
from tests.abuse.process import MB, open_files, rss_bytes
from tests.harness.proxies import Proxy, proxy
from tests.harness.resp import encode
from tests.harness.servers import Server, running

BUDGET_MB, BUDGET_FACTOR, BESIDE_MB = 64, 1.15, 30
SLOPE_MB_IN_10_MINUTES = 1.0
LOOK_S = 10.0
WARM_UP = 0.25
LIVE, LIVE_DB = 200, 1
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Values:
    """So many values of a size, read at a rate."""

    prefix: str
    keys: int
    size: int
    share: float
    """Of all reads."""


SIZES = [
    Values("a:", 800_000, 10, 0.80),
    Values("b:", 100_000, 1_000, 0.18),
    Values("c:", 10_000, 20_000, 0.0195),
    Values("d:", 300, 1_000_000, 0.0005),
]


@dataclass
class Looks:
    """What was seen, second by second of the soak."""

    at_s: list[float] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    def slope_mb(self) -> float:
        """Growth in ten minutes, once the budget is used up."""
        full = int(len(self.at_s) * WARM_UP)
        line = statistics.linear_regression(self.at_s[full:], self.rss_mb[full:])
        return line.slope * 600


def _fill(server: Server) -> None:
    for values in SIZES:
        batch = max(1, MB // (values.size + 50))
        for at in range(0, values.keys, batch):
            names = range(at, min(at + batch, values.keys))
            content = b"x" * values.size
            server.fill([("SET", f"{values.prefix}{name:010d}", content) for name in names])


def _reading(front: Proxy, values: Values, per_second: float) -> Callable[[], None]:
    """A load repeats itself after a while: another one every few seconds."""
    seeds = itertools.count()

    def read() -> None:
        load = generate_load(
            f"tcp://127.0.0.1:{front.port}",
            operation="get",
            connections=4,
            seconds=2.0,
            rate_per_s=per_second * values.share,
            keys=values.keys,
            value_bytes=values.size,
            prefix=values.prefix,
            seed=next(seeds),
        )
        assert not load["errors"], f"{load['errors']} errors"

    return read


def _come_and_go(front: Proxy) -> None:
    for at in range(10):
        client = connection(front)
        client.sendall(encode("GET", f"a:{at:010d}")[: None if at % 3 else 9])
        if at % 2:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        elif at % 3:
            client.recv(100)
        client.close()
    time.sleep(0.5)


class Writer:
    """Changes the live keys behind the proxy's back, each to what it never was."""

    def __init__(self, server: Server):
        self._wire, self._count = server.fresh_wire(), 0
        self._wire("SELECT", LIVE_DB)

    def __call__(self) -> None:
        self._count += 1
        for at in range(0, LIVE, 4):
            self._wire("SET", f"live:{(at + self._count) % LIVE}", f"{self._count}")
        time.sleep(0.2)


@contextlib.contextmanager
def _going_on(work: Callable[[], None]) -> Iterator[None]:
    over, problems = threading.Event(), []

    def run() -> None:
        try:
            while not over.is_set():
                work()
        except BaseException as problem:  # noqa: BLE001 - told at the end
            problems.append(problem)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30)
    if problems:
        raise problems[0]


def soak(minutes: float, per_second: float, samples: int) -> bool:
    """True when every bar holds."""
    seconds, looks = minutes * 60 / (1 - WARM_UP), Looks()
    with running() as server:
        _fill(server)
        upstream = f"redis://127.0.0.1:{server.port}"
        with proxy("--max-memory", f"{BUDGET_MB}mb", upstream=upstream) as front:
            fresh_mb = rss_bytes(front.pid) / MB
            cache, store = f"redis://127.0.0.1:{front.port}/{LIVE_DB}", f"{upstream}/{LIVE_DB}"
            command = [sys.executable, "-m", "cachee", "audit", cache, store, "--json"]
            command += ["--samples", str(samples)]
            command += ["--rate", str(samples / seconds * 1.1)]
            writer = Writer(server)
            writer()
            with contextlib.ExitStack() as stack:
                stack.enter_context(_going_on(writer))
                stack.enter_context(_going_on(lambda: _come_and_go(front)))
                audit = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
                stack.enter_context(audit)
                for values in SIZES:
                    stack.enter_context(_going_on(_reading(front, values, per_second)))
                began = time.monotonic()
                while time.monotonic() < began + seconds:
                    time.sleep(min(LOOK_S, seconds / 10))
                    looks.at_s.append(time.monotonic() - began)
                    looks.rss_mb.append(rss_bytes(front.pid) / MB)
                    looks.files.append(open_files(front.pid))
                found = json.loads(audit.communicate(timeout=seconds)[0])
                assert audit.returncode in (0, 1), "the audit broke off"
            stats = front.stats()
    return _judge(looks, fresh_mb, stats["stored"], stats["hits"], found)


def _judge(looks: Looks, fresh_mb: float, stored: int, hits: int, found: dict[str, float]) -> bool:
    grown, allowed = max(looks.rss_mb) - fresh_mb, BUDGET_MB * BUDGET_FACTOR + BESIDE_MB
    half = len(looks.files) // 2
    files = statistics.fmean(looks.files[half:]) - statistics.fmean(looks.files[1:half])
    bars = {
        f"{stored} inserts, {hits} hits": True,
        f"memory: fresh {fresh_mb:.0f} MB, at most +{grown:.0f} MB (<= {allowed:.0f})": (
            grown <= allowed
        ),
        f"memory: {looks.slope_mb():+.2f} MB in 10 minutes (< {SLOPE_MB_IN_10_MINUTES})": (
            looks.slope_mb() < SLOPE_MB_IN_10_MINUTES
        ),
        f"files: {files:+.2f} from the first half to the second (< 1)": files < 1,
        f"audit: {found['samples']} answers, {found['changed']} that changed meanwhile,"
        f" {found['late']} late (at most {found['late_s_max'] * 1000:.1f} ms),"
        f" {found['errors']} errors, {found['wrong']} wrong (0)": (
            not found["wrong"] and not found["errors"]
        ),
    }
    for text, holds in bars.items():
        print(f"{'holds' if holds else 'MISSED'}  {text}")
    return all(bars.values())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.abuse.soak")
    parser.add_argument(
        "--minutes", type=float, default=30.0, help="how long, after a third of it as warm-up (30)"
    )
    parser.add_argument("--rate", type=float, default=12_000, help="reads a second (12000)")
    parser.add_argument("--samples", type=int, default=1_000_000, help="of the audit (1000000)")
    arguments = parser.parse_args()
    return 0 if soak(arguments.minutes, arguments.rate, arguments.samples) else 1


if __name__ == "__main__":
    sys.exit(main())
