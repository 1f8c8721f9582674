"""The one statistics snapshot; JSON, the CLI's table, Prometheus' text are renderings of it.

There are two kinds: of the L1 inside a process, and of a proxy. Both have the L1's counters under
the same names; `kind` tells them apart where a program reads them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import cast

__all__ = ["LinkSnapshot", "ProxySnapshot", "Snapshot"]

COUNTERS = (
    "hits",
    "misses",
    "coalesced",
    "stored",
    "replaced",
    "evicted",
    "expired",
    "invalidated",
    "removed",
    "voided",
    "ahead_used",
    "ahead_unused",
    "ahead_unused_bytes",
    "recorded",
    "record_dropped",
)


@dataclass(frozen=True)
class LinkSnapshot:
    """One coherent connection: its server, its state (ready, connecting, down…) and why."""

    server: str
    state: str
    reason: str


@dataclass(frozen=True)
class Snapshot:
    """What the L1 of one process has done since `install()` (or since the fork).

    Counters only grow. `bypasses` counts, by reason, reads that went to the store because cachee
    would not answer them; `pass_through` the clients that are not served at all and why. `prefetch`
    counts what was loaded ahead: `events` (accesses that no hit answered), `issued` (reads sent),
    `used` and `late` (asked for once here, or while on their way), `unused`, `rules` and those of
    them that are `trusted`, `bytes` of what was learned; `rules` shows those of most use,
    `prefetch_doubts` why a predictor (rules, streams, refetch, renewal) sends nothing. `warmed`
    counts what was hot before a restart or a lost connection and was read again, `recorded` the
    requests in the file of the setting `record`, `record_dropped` those it lost. Sizes are bytes. A
    snapshot is immutable and may be kept, compared and pickled.

    >>> Snapshot(mode="on", hits=90, misses=6, coalesced=1, bypasses={"write_hot": 3}).hit_rate
    0.9
    """

    mode: str = "off"
    pid: int = 0
    hits: int = 0
    misses: int = 0
    coalesced: int = 0
    stored: int = 0
    replaced: int = 0
    evicted: int = 0
    expired: int = 0
    invalidated: int = 0
    removed: int = 0
    voided: int = 0
    ahead_used: int = 0
    ahead_unused: int = 0
    ahead_unused_bytes: int = 0
    warmed: int = 0
    recorded: int = 0
    record_dropped: int = 0
    entries: int = 0
    weight_bytes: int = 0
    capacity_bytes: int = 0
    bypasses: Mapping[str, int] = field(default_factory=dict)
    pass_through: Mapping[str, int] = field(default_factory=dict)
    links: tuple[LinkSnapshot, ...] = ()
    prefetch: Mapping[str, int] = field(default_factory=dict)
    prefetch_doubts: Mapping[str, str] = field(default_factory=dict)
    rules: tuple[Mapping[str, object], ...] = ()

    @property
    def reads(self) -> int:
        """Cacheable reads asked of the served clients, the bypassed ones included.

        A read that the link asked for and then gave back (`error_reply`, say) counts as a miss and
        as a bypass, so this is rather too many than too few.
        """
        return self.hits + self.misses + self.coalesced + sum(self.bypasses.values())

    @property
    def hit_rate(self) -> float:
        """Hits per read, 0 to 1; 0 when there was no read."""
        return self.hits / self.reads if self.reads else 0.0

    def as_dict(self) -> dict[str, object]:
        """Plain types, ready for `json.dumps`."""
        content = {"kind": "process", **asdict(self)}
        content["reads"] = self.reads
        content["hit_rate"] = round(self.hit_rate, 6)
        content["links"] = [asdict(link) for link in self.links]
        content["bypasses"] = dict(self.bypasses)
        content["pass_through"] = dict(self.pass_through)
        content["prefetch"] = dict(self.prefetch)
        content["prefetch_doubts"] = dict(self.prefetch_doubts)
        content["rules"] = [dict(rule) for rule in self.rules]
        return content


def shared_doubts(of_links: list[Mapping[str, str]]) -> dict[str, str]:
    """The doubts about predictors that send nothing on any link.

    >>> shared_doubts([{"rules": "too few", "streams": "wrong"}, {"streams": "too few"}])
    {'streams': 'wrong'}
    """
    first, *others = of_links or [{}]
    return {name: doubt for name, doubt in first.items() if all(name in each for each in others)}


@dataclass(frozen=True)
class ProxySnapshot:
    """What a proxy has done since it started.

    `problem` says why it is not `ready`: what the upstream answered, or why it did not.
    `counted` holds the native half's numbers under their names (`clients`, `commands`, `hits`, …),
    `links` one mapping for each connection of the proxy's own, with its state.

    >>> ProxySnapshot(counted={"hits": 9, "misses": 1}).hit_rate
    0.9
    """

    mode: str = "off"
    pid: int = 0
    version: str = ""
    uptime_s: float = 0.0
    ready: bool = False
    problem: str = ""
    draining: bool = False
    listen: tuple[str, ...] = ()
    upstream: str = ""
    counted: Mapping[str, int] = field(default_factory=dict)
    links: tuple[Mapping[str, object], ...] = ()

    @property
    def reads(self) -> int:
        """Cacheable reads of all clients, the bypassed ones included.

        As in `Snapshot.reads`, one that a link gave back counts as a miss and as bypassed.
        """
        return sum(self.counted.get(name, 0) for name in ("hits", "misses", "bypassed"))

    @property
    def bypasses(self) -> dict[str, int]:
        """Reads that a link gave back, by reason."""
        counts: Counter[str] = Counter()
        for link in self.links:
            counts.update(cast("Mapping[str, int]", link.get("bypassed", {})))
        return {reason: count for reason, count in counts.items() if count}

    @property
    def prefetch(self) -> dict[str, int]:
        """What was loaded ahead on all links, as in `Snapshot.prefetch`."""
        counts: Counter[str] = Counter()
        for link in self.links:
            counts.update(cast("Mapping[str, int]", link.get("prefetch", {})))
        return dict(counts)

    @property
    def prefetch_doubts(self) -> dict[str, str]:
        """Why a predictor sends nothing on any link."""
        told = [
            cast("Mapping[str, str] | None", each.get("prefetch_doubts")) for each in self.links
        ]
        return shared_doubts([each for each in told if each is not None])

    @property
    def hit_rate(self) -> float:
        """Hits per read, 0 to 1; 0 when there was no read."""
        return self.counted.get("hits", 0) / self.reads if self.reads else 0.0

    def as_dict(self) -> dict[str, object]:
        """Plain types, ready for `json.dumps`; the native half's numbers beside the others."""
        return {
            "kind": "proxy",
            "mode": self.mode,
            "pid": self.pid,
            "version": self.version,
            "uptime_s": round(self.uptime_s, 3),
            "ready": self.ready,
            "problem": self.problem,
            "draining": self.draining,
            "listen": list(self.listen),
            "upstream": self.upstream,
            **self.counted,
            "reads": self.reads,
            "hit_rate": round(self.hit_rate, 6),
            "bypasses": self.bypasses,
            "prefetch": self.prefetch,
            "prefetch_doubts": self.prefetch_doubts,
            "links": [dict(link) for link in self.links],
        }
