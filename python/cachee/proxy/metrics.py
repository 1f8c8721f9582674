"""The proxy's statistics as Prometheus reads them: one rendering of the one snapshot.

A count that only grows is `cachee_…_total`, a present size has its unit last. A number this table
does not know is shown without a type rather than not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Kind = Literal["counter", "gauge", "untyped"]

__all__ = ["CONTENT_TYPE", "METRICS", "render"]

METRICS: Mapping[str, tuple[str, Kind, str]] = {
    "uptime_s": ("uptime_seconds", "gauge", "Seconds since the proxy started."),
    "ready": ("ready", "gauge", "Whether the upstream answers."),
    "draining": ("draining", "gauge", "Whether the proxy is about to end."),
    "clients": ("clients_connected", "gauge", "Clients connected now."),
    "clients_total": ("clients_total", "counter", "Clients accepted."),
    "clients_refused": ("clients_refused_total", "counter", "Clients refused beyond max_clients."),
    "commands": ("commands_total", "counter", "Commands of clients."),
    "hits": ("hits_total", "counter", "Reads answered from the L1."),
    "misses": ("misses_total", "counter", "Cacheable reads asked of the upstream."),
    "coalesced": ("coalesced_total", "counter", "Reads that waited for another's miss."),
    "stored": ("stored_total", "counter", "Entries stored."),
    "replaced": ("replaced_total", "counter", "Entries overwritten by a newer value."),
    "evicted": ("evicted_total", "counter", "Entries given up by the policy, to make room."),
    "expired": ("expired_total", "counter", "Entries dropped by time."),
    "invalidated": ("invalidated_total", "counter", "Entries dropped because they changed."),
    "removed": ("removed_total", "counter", "Entries dropped by the caller."),
    "voided": ("voided_total", "counter", "Loads that were not stored because the key changed."),
    "entries": ("entries", "gauge", "Entries held now."),
    "leases": ("leases", "gauge", "Loads under way."),
    "weight_bytes": ("weight_bytes", "gauge", "Bytes of the L1, overhead included."),
    "capacity_bytes": ("capacity_bytes", "gauge", "What the L1 may hold."),
}
"""Field of the snapshot: name without the prefix cachee_, type, help."""

_IDENTITY = {"pid", "reads", "hit_rate"}
"""Numbers of the snapshot that are no measurement, or follow from others."""


def render(snapshot: Mapping[str, object]) -> str:
    """The text of /metrics.

    >>> print(render({"version": "1.0", "hits": 3}))
    # HELP cachee_build_info The version of cachee.
    # TYPE cachee_build_info gauge
    cachee_build_info{version="1.0"} 1
    # HELP cachee_hits_total Reads answered from the L1.
    # TYPE cachee_hits_total counter
    cachee_hits_total 3
    <BLANKLINE>
    """
    return "".join(f"{line}\n" for line in _lines(snapshot))


def _lines(snapshot: Mapping[str, object]) -> Iterator[str]:
    version = str(snapshot.get("version", ""))
    yield from _family("build_info", "gauge", "The version of cachee.", [({"version": version}, 1)])
    for field, value in snapshot.items():
        if field in _IDENTITY or not isinstance(value, (int, float)):
            continue
        name, kind, text = METRICS.get(field, (field, "untyped", f"{field} of the proxy."))
        yield from _family(name, kind, text, [({}, value)])
    bypasses = snapshot.get("bypasses")
    if isinstance(bypasses, Mapping) and bypasses:
        samples = [({"reason": str(reason)}, count) for reason, count in sorted(bypasses.items())]
        text = "Cacheable reads that went to the upstream all the same."
        yield from _family("bypasses_total", "counter", text, samples)
    links = snapshot.get("links")
    if isinstance(links, list) and links:
        yield from _family("link_up", "gauge", "Whether a link is ready.", _link_samples(links))


def _link_samples(
    links: list[Mapping[str, object]],
) -> Iterator[tuple[Mapping[str, str], float]]:
    for number, link in enumerate(links):
        server = str(link.get("server", ""))
        yield {"link": str(number), "server": server}, int(link.get("state") == "ready")


def _family(
    name: str, kind: Kind, text: str, samples: Iterable[tuple[Mapping[str, str], float]]
) -> Iterator[str]:
    yield f"# HELP cachee_{name} {text}"
    yield f"# TYPE cachee_{name} {kind}"
    for labels, value in samples:
        pairs = ",".join(f'{label}="{_escaped(content)}"' for label, content in labels.items())
        braces = f"{{{pairs}}}" if pairs else ""
        yield f"cachee_{name}{braces} {int(value) if isinstance(value, bool) else value}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
