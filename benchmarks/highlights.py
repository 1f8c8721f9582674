"""Which rows of the kept results the main README shows side by side."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks import records, workloads


@dataclass(frozen=True)
class Highlight:
    """One line: a figure's field for cachee, for the dict beside it, and for others."""

    what: str
    figure: str
    ours: str
    workload: str | None
    others: tuple[str, ...]
    field: str = "median_ns"
    unit: str = "µs"

    def cells(self, results: dict[str, dict]) -> list[str] | None:
        """Cells of the line, or None when the figure was not measured."""
        rows = results.get(self.figure, {}).get("rows", [])
        ours = records.row(rows, self.ours, self.workload)
        if ours is None:
            return None
        beside = ours.get("dict_median_ns") if self.field == "median_ns" else None
        shown = [self.what, self._shown(ours[self.field])]
        shown.append(self._shown(beside) if beside else self._dict(rows))
        others = [self._other(rows, name) for name in self.others]
        return [*shown, "; ".join(text for text in others if text)]

    def _dict(self, rows: list[dict]) -> str:
        found = records.row(rows, "dict", self.workload)
        return self._shown(found[self.field]) if found and found.get(self.field) else ""

    def _other(self, rows: list[dict], name: str) -> str:
        found = records.row(rows, name, self.workload) or records.row(rows, name)
        if found and found.get(self.field) is not None:
            return f"{name} {self._shown(found[self.field])}"
        failed = [row["failed"] for row in rows if row["contender"] == name and "failed" in row]
        return f"{name}: {failed[0]}" if failed else ""

    def _shown(self, value: float) -> str:
        if self.unit == "µs":
            return f"{records.number(value / 1_000)} µs"
        return f"{records.number(value)}{self.unit}"


CACHES = ("cachebox.TTLCache", "moka_py.Moka", "cachetools.TTLCache + Lock", "theine.Cache")
LINES = (
    Highlight(
        "`r.get(k)`, hit",
        "hit_sync",
        "redis-py + cachee",
        workloads.HOT,
        (
            "redis-py, TCP",
            "redis-py, Unix socket",
            "redis-py + its own cache, TCP",
            "valkey-glide-sync + its own cache",
        ),
    ),
    Highlight(
        "`r.get(k)`, hit, 100k entries, Zipf",
        "hit_sync",
        "redis-py + cachee, 100k entries",
        workloads.ZIPF,
        (),
    ),
    Highlight(
        "`await r.get(k)`, hit",
        "hit_async",
        "redis.asyncio + cachee, asyncio",
        workloads.HOT,
        ("redis.asyncio, TCP, asyncio", "coredis + its own cache, asyncio"),
    ),
    Highlight(
        "`r.hgetall(h)`, 50 fields, hit (a copy)",
        "hit_commands",
        "redis-py + cachee",
        "r.hgetall(hash), 50 fields",
        ("redis-py, TCP", "redis-py + its own cache, TCP"),
    ),
    Highlight(
        "`r.mget`, 100 keys, all local",
        "mget",
        "redis-py + cachee, TCP",
        "mget, 100 local",
        ("redis-py, TCP",),
    ),
    Highlight(
        "`r.mget`, 100 keys, one remote",
        "mget",
        "redis-py + cachee, TCP",
        "mget, 99 local + 1 remote",
        ("redis-py, TCP",),
    ),
    Highlight(
        "`r.get(k)`, miss",
        "miss",
        "redis-py + cachee, TCP",
        "one after the other",
        ("redis-py, TCP",),
    ),
    Highlight(
        "upstream reads, 8 threads on one cold key",
        "cold_key",
        "redis-py + cachee",
        "8 threads",
        ("redis-py", "redis-py + its own cache"),
        field="upstream_per_key",
        unit="",
    ),
    Highlight(
        "push sent until the entry is gone, 1 M entries",
        "invalidation",
        "cachee, one push",
        "1,000,000",
        ("a blocked reader", "redis-py's own cache, its handler"),
    ),
    *(
        Highlight(
            f"{command} through the proxy, 50 clients, P={pipeline}, TCP",
            "proxy",
            "cachee proxy",
            f"{operation} P={pipeline} 100 B TCP",
            ("the server itself", "a byte relay", "twemproxy", "Envoy"),
            field="throughput_per_s",
            unit="/s",
        )
        for command, operation in (("GET, hits,", "get"), ("SET", "set"))
        for pipeline in (1, 16)
    ),
    Highlight("`Cache.get`, hot", "cache_get", "cachee.Cache", workloads.HOT, CACHES),
    Highlight("`Cache.get`, 100k Zipf", "cache_get", "cachee.Cache", workloads.ZIPF, CACHES),
    Highlight(
        "`Cache.get_many` of 64, 100k Zipf, per key",
        "cache_many",
        "cachee.Cache",
        workloads.ZIPF,
        ("cachebox.TTLCache", "moka_py.Moka"),
    ),
    Highlight(
        "bytes per entry, `Cache`, 1 M of 16 + 100 bytes",
        "memory",
        "cachee.Cache",
        "filled",
        ("redis-py + cachee", "cachebox.TTLCache", "the server itself"),
        field="bytes_per_entry",
        unit=" B",
    ),
)
