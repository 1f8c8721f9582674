"""The one statistics snapshot; JSON, the CLI's table and everything later are renderings of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

__all__ = ["LinkSnapshot", "Snapshot"]

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
    would not answer them; `pass_through` the clients that are not served at all and why. Sizes are
    bytes. A snapshot is immutable and may be kept, compared and pickled.

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
    entries: int = 0
    weight_bytes: int = 0
    capacity_bytes: int = 0
    bypasses: Mapping[str, int] = field(default_factory=dict)
    pass_through: Mapping[str, int] = field(default_factory=dict)
    links: tuple[LinkSnapshot, ...] = ()

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
        content = asdict(self)
        content["reads"] = self.reads
        content["hit_rate"] = round(self.hit_rate, 6)
        content["links"] = [asdict(link) for link in self.links]
        content["bypasses"] = dict(self.bypasses)
        content["pass_through"] = dict(self.pass_through)
        return content
