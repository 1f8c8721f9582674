"""The proxy's statistics as Prometheus reads them: one rendering of the one snapshot.

A count that only grows is `cachee_…_total`, a present size has its unit last. A number this table
does not know is shown without a type rather than not at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Kind = Literal["counter", "gauge", "untyped"]

__all__ = ["CONTENT_TYPE", "METRICS", "render"]

METRICS: Mapping[str, tuple[str, Kind, str]] = {
    "uptime_s": ("uptime_seconds", "gauge", "Seconds since the proxy started."),
    "ready": ("ready", "gauge", "Whether the upstream answers."),
    "draining": ("draining", "gauge", "Whether the proxy is about to end."),
    "clients": ("clients", "gauge", "Clients connected now."),
    "clients_accepted": ("clients_accepted_total", "counter", "Clients accepted."),
    "clients_closed": ("clients_closed_total", "counter", "Clients that have gone."),
    "clients_expelled": (
        "clients_expelled_total",
        "counter",
        "Clients closed for breaking a ceiling or the protocol.",
    ),
    "clients_refused": ("clients_refused_total", "counter", "Clients beyond max_clients."),
    "commands": ("commands_total", "counter", "Commands of clients."),
    "forwarded": ("forwarded_total", "counter", "Commands forwarded to the upstream."),
    "writes": ("writes_total", "counter", "Writes whose keys were known."),
    "opaque_writes": (
        "opaque_writes_total",
        "counter",
        "Commands that may have changed anything.",
    ),
    "bytes_in": ("bytes_in_total", "counter", "Bytes from clients."),
    "bytes_out": ("bytes_out_total", "counter", "Bytes to clients."),
    "upstream_connects": (
        "upstream_connects_total",
        "counter",
        "Upstream connections made for clients.",
    ),
    "upstream_refused": (
        "upstream_refused_total",
        "counter",
        "Upstream connections that could not be made.",
    ),
    "upstream_lost": (
        "upstream_lost_total",
        "counter",
        "Upstream connections lost with commands unanswered.",
    ),
    "protocol_errors": (
        "protocol_errors_total",
        "counter",
        "Streams that broke the protocol, of clients or upstreams.",
    ),
    "hits": ("hits_total", "counter", "Cacheable reads answered from the L1, key by key."),
    "misses": ("misses_total", "counter", "Cacheable reads of which the L1 had nothing."),
    "bypassed": (
        "bypassed_total",
        "counter",
        "Cacheable reads the upstream answered all the same.",
    ),
    "would_hit": ("would_hit_total", "counter", "Reads that mode on would have answered."),
    "warmed": ("warmed_total", "counter", "Reads made ahead after a warm restart."),
    "recorded": ("recorded_total", "counter", "Reads written to the file of `record`."),
    "record_dropped": ("record_dropped_total", "counter", "Reads that file has lost."),
    "coalesced": ("coalesced_total", "counter", "Reads that waited for another's miss."),
    "stored": ("stored_total", "counter", "Entries stored."),
    "replaced": ("replaced_total", "counter", "Entries overwritten by a newer value."),
    "evicted": ("evicted_total", "counter", "Entries given up by the policy, to make room."),
    "expired": ("expired_total", "counter", "Entries dropped by time."),
    "invalidated": ("invalidated_total", "counter", "Entries dropped because they changed."),
    "voided": ("voided_total", "counter", "Loads that were not stored because the key changed."),
    "ahead_used": ("ahead_used_total", "counter", "Entries loaded ahead that were asked for."),
    "ahead_unused": (
        "ahead_unused_total",
        "counter",
        "Entries loaded ahead that were dropped before anybody asked.",
    ),
    "ahead_unused_bytes": ("ahead_unused_bytes_total", "counter", "Bytes of those."),
    "entries": ("entries", "gauge", "Entries held now."),
    "leases": ("leases", "gauge", "Loads under way."),
    "weight_bytes": ("weight_bytes", "gauge", "Bytes of the L1, overhead included."),
    "capacity_bytes": ("capacity_bytes", "gauge", "What the L1 may hold."),
}
"""Field of the snapshot: name without the prefix cachee_, type, help."""

PREFETCH: Mapping[str, tuple[Kind, str]] = {
    "events": ("counter", "Reads that no hit answered: what is learned from."),
    "issued": ("counter", "Reads sent ahead."),
    "used": ("counter", "Of those, asked for once they were here."),
    "late": ("counter", "Of those, asked for while they were on their way."),
    "unused": ("counter", "Of those, not asked for in time."),
    "rules": ("gauge", "Rules known."),
    "trusted": ("gauge", "Rules that are acted on."),
    "bytes": ("gauge", "Memory of what was learned."),
}
"""Of the snapshot's prefetch: kind and help."""

_IDENTITY = {"pid", "reads", "hit_rate"}
"""Numbers of the snapshot that are no measurement, or follow from others."""


def render(snapshot: Mapping[str, object]) -> str:
    """The text of /metrics.

    >>> print(render({"version": "1.0", "hits": 3}))
    # HELP cachee_build_info The version of cachee.
    # TYPE cachee_build_info gauge
    cachee_build_info{version="1.0"} 1
    # HELP cachee_hits_total Cacheable reads answered from the L1, key by key.
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
        yield from _family(
            "link_bypassed_total", "counter", "Reads that a link gave back, by reason.", samples
        )
    prefetch = snapshot.get("prefetch")
    if isinstance(prefetch, Mapping):
        for each, (kind, text) in PREFETCH.items():
            if each in prefetch:
                ending = "_total" if kind == "counter" else ""
                yield from _family(f"prefetch_{each}{ending}", kind, text, [({}, prefetch[each])])
    links = snapshot.get("links")
    if isinstance(links, list) and links:
        yield from _family("links", "gauge", "Links of the proxy, by state.", _link_samples(links))


def _link_samples(
    links: list[Mapping[str, object]],
) -> Iterator[tuple[Mapping[str, str], float]]:
    """By state alone: a label a user would be a label without bound."""
    states = Counter(str(link.get("state")) for link in links)
    for state in sorted({"ready", "connecting", "down", *states}):
        yield {"state": state}, states[state]


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
