"""What is asked of every contender: which commands, how many at once, of which size, over what."""

from __future__ import annotations

from dataclasses import dataclass

CLIENTS = 50
MGET_KEYS = 100
READ_SHARE = 0.9
KEYS_MAX = 10_000
# Larger values have fewer keys: what the server holds of a size, and an L1 of the default size too.
BYTES_A_SIZE_MAX = 64 * 1024**2
FAR_RTT_MS = 1.0
# Pipelines a second where latency to a far server is measured: far from what the delay can do.
FAR_PIPELINES_PER_S = 2_000
TITLES = {
    "get": "GET, hits",
    "missing": "GET, misses",
    "set": "SET",
    "mixed": "GET and SET, 90:10",
    "mget": "MGET of 100",
}


@dataclass(frozen=True)
class Route:
    """How a client reaches a proxy, and the proxy the server: both "tcp" or "unix"."""

    name: str
    listen: str
    upstream: str
    rtt_ms: float = 0.0


TCP = Route("TCP", "tcp", "tcp")
UNIX = Route("Unix socket", "unix", "unix")
# A sidecar's clients on TCP, the server on a Unix socket of the same machine.
TCP_TO_UNIX = Route("TCP, server on a Unix socket", "tcp", "unix")
FAR = Route("TCP, server 1 ms away", "tcp", "tcp", rtt_ms=FAR_RTT_MS)


@dataclass(frozen=True)
class Case:
    """One load. `in_time` measures latency in the open loop, too, at `rate_per_s`."""

    operation: str
    pipeline: int
    value_bytes: int = 100
    route: Route = TCP
    in_time: bool = False

    @property
    def name(self) -> str:
        """As in tables and for `--only`.

        >>> Case("get", 16).name
        'get P=16 100 B TCP'
        """
        return f"{self.operation} P={self.pipeline} {self.value_bytes} B {self.route.name}"

    def rate_per_s(self, server_per_s: float) -> float:
        """Commands a second in the open loop: half of what the server does, few to a far one."""
        half = server_per_s / 2
        return min(half, FAR_PIPELINES_PER_S * self.pipeline) if self.route.rtt_ms else half

    @property
    def keys(self) -> int:
        """How many keys there are of this size."""
        return min(KEYS_MAX, BYTES_A_SIZE_MAX // self.value_bytes)

    @property
    def prefix(self) -> str:
        """In front of each key's number."""
        return f"bench:{self.value_bytes}:"


def all_cases() -> list[Case]:
    """Every case, in the order of the table."""
    found = [
        Case(operation, pipeline, route=route, in_time=_is_in_time(operation, pipeline))
        for operation in TITLES
        for route in (TCP, UNIX)
        for pipeline in (1, 16, 64)
    ]
    found += [
        Case(operation, pipeline, value_bytes)
        for operation in ("get", "set")
        for value_bytes in (1_000, 16_384, 65_536)
        for pipeline in (1, 16)
    ]
    found += [
        Case(operation, pipeline, route=TCP_TO_UNIX)
        for operation in ("get", "set")
        for pipeline in (1, 16)
    ]
    found += [Case(operation, 1, route=FAR, in_time=True) for operation in TITLES]
    return [*found, Case("get", 16, route=FAR, in_time=True)]


def _is_in_time(operation: str, pipeline: int) -> bool:
    return operation in ("get", "set", "mixed") and pipeline <= 16
