"""Looks at a Redis or Valkey as a link would, and says what will work and what to change.

Each check is a question that was once the reason why a cache silently did nothing: cannot connect,
wrong password, no RESP3, no tracking, an ACL that forbids a command the link needs, a tracking
table that is too small or full, a policy that evicts by surprise. The doctor speaks RESP itself
over one plain socket: it must work where no client library is installed, and show what the server
answered rather than what a library made of it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from cachee._errors import CacheeError, NotAvailableError
from cachee._resp import ErrorReply, Server, ServerError, connect, parse_url

__all__ = ["Finding", "Report", "examine"]

Verdict = Literal["ok", "note", "change", "pass through"]

VERSION_NEEDED = (7, 0)
ROUND_TRIPS = 200
ROUND_TRIPS_S_MAX = 2.0
TABLE_USE_NOTED = 0.5
TABLE_LIMIT_DEFAULT = 1_000_000

KEY_ASKED = "cachee:doctor"

COMMANDS_NEEDED = (
    ("CLIENT", "SETNAME", "cachee"),
    ("CLIENT", "TRACKING", "on"),
    ("COMMAND",),
    ("PING",),
    ("GET", KEY_ASKED),
    ("PTTL", KEY_ASKED),
)


@dataclass(frozen=True)
class Finding:
    """One thing looked at: what was found, what it means, what to do when it is not ok."""

    subject: str
    verdict: Verdict
    found: str
    advice: str = ""


@dataclass(frozen=True)
class Report:
    """Everything found about one server; `serves` says whether its reads would be cached.

    `url` has its password replaced. `findings` are in the order of a link's own steps: when one
    says "pass through", those after it could not be looked at or do not matter.
    """

    url: str
    findings: tuple[Finding, ...] = field(default_factory=tuple)

    @property
    def reachable(self) -> bool:
        """Whether the server answered at all and let us in."""
        return not any(
            finding.verdict == "pass through" and finding.subject in ("connection", "login")
            for finding in self.findings
        )

    @property
    def serves(self) -> bool:
        """Whether a client of this URL would be answered from the L1."""
        return all(finding.verdict != "pass through" for finding in self.findings)

    def as_dict(self) -> dict[str, object]:
        """Plain types, ready for `json.dumps`."""
        return {
            "url": self.url,
            "serves": self.serves,
            "reachable": self.reachable,
            "findings": [vars(finding) for finding in self.findings],
        }


def examine(url: str, *, timeout_s: float = 3.0) -> Report:
    """Look at one server; never raises for what the server does.

    `url` is redis://, rediss:// or unix://, as the client libraries take it. Nothing is written.
    Raises CacheeError for a URL that cannot be one, NotAvailableError for PostgreSQL.

    >>> examine("redis://127.0.0.1:1").reachable
    False
    """
    if url.startswith(("postgres://", "postgresql://")):
        raise NotAvailableError("cachee doctor for PostgreSQL")
    address = parse_url(url)
    findings: list[Finding] = []
    try:
        server = connect(address, timeout_s)
    except (OSError, CacheeError) as error:
        advice = "check address, port, TLS and firewall from this machine"
        findings.append(Finding("connection", "pass through", str(error), advice))
        return Report(address.shown, tuple(findings))
    with server:
        findings.append(Finding("connection", "ok", f"connected to {address.shown}"))
        try:
            for check in CHECKS:
                found = check(server)
                findings += found
                if any(finding.verdict == "pass through" for finding in found):
                    break
        except (OSError, ServerError) as error:
            text = f"the server stopped answering: {error}"
            findings.append(Finding("connection", "pass through", text))
    return Report(address.shown, tuple(findings))


def _login(server: Server) -> list[Finding]:
    address = server.address
    if address.password is None and address.username is None:
        reply = server.ask("PING")
        if isinstance(reply, ErrorReply):
            return [
                Finding("login", "pass through", str(reply), "put user and password in the URL")
            ]
        found = "no password needed"
    else:
        reply = server.ask("AUTH", address.username or "default", address.password or "")
        if isinstance(reply, ErrorReply):
            return [Finding("login", "pass through", str(reply), "check user and password")]
        found = f"as {address.username or 'default'}"
    if address.database:
        reply = server.ask("SELECT", str(address.database))
        if isinstance(reply, ErrorReply):
            return [Finding("login", "pass through", str(reply), "choose another database")]
    return [Finding("login", "ok", found)]


def _version(server: Server) -> list[Finding]:
    fields = server.info("server")
    name = "Valkey" if fields.get("server_name") == "valkey" else "Redis"
    text = fields.get("valkey_version") or fields.get("redis_version") or ""
    numbers = tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
    if not numbers:
        found = "the server does not say (INFO is not allowed)"
        return [Finding("version", "note", found, "cachee needs Redis 7.0 or Valkey 7.2 and later")]
    if numbers < VERSION_NEEDED:
        advice = "before 7.0 pushes can arrive inside replies; upgrade to be served"
        return [Finding("version", "pass through", f"{name} {text}", advice)]
    mode = fields.get("redis_mode", "standalone")
    findings = [Finding("version", "ok", f"{name} {text}, {mode}")]
    if mode == "cluster":
        advice = "Cluster clients pass through for now; single-node clients are served"
        findings.append(Finding("topology", "note", "a cluster node", advice))
    elif mode == "sentinel":
        advice = "give the URL of the primary; Sentinel clients pass through for now"
        findings.append(Finding("topology", "pass through", "a Sentinel", advice))
    return findings


def _resp3(server: Server) -> list[Finding]:
    reply = server.ask("HELLO", "3")
    if isinstance(reply, ErrorReply):
        advice = "a proxy or a managed service in between may refuse it; allow HELLO 3"
        return [Finding("RESP3", "pass through", str(reply), advice)]
    return [Finding("RESP3", "ok", "HELLO 3 accepted")]


def _tracking(server: Server) -> list[Finding]:
    reply = server.ask("CLIENT", "TRACKING", "on")
    if isinstance(reply, ErrorReply):
        advice = "client tracking is what keeps the L1 right; without it nothing can be served"
        return [Finding("tracking", "pass through", str(reply), advice)]
    shown = server.ask("CLIENT", "TRACKINGINFO")
    state = "on" if not isinstance(shown, ErrorReply) else "accepted"
    return [Finding("tracking", "ok", f"CLIENT TRACKING {state}")]


def _acl(server: Server) -> list[Finding]:
    shown = server.ask("ACL", "WHOAMI")
    asked_as = server.address.username or "default"
    user = asked_as if isinstance(shown, ErrorReply) else str(shown)
    refused = []
    for words in COMMANDS_NEEDED:
        reply = server.ask(*words)
        if isinstance(reply, ErrorReply) and "NOPERM" in reply and "key" not in reply:
            refused.append(words[: 2 if words[0] == "CLIENT" else 1])
    if refused:
        names = ", ".join(" ".join(words) for words in refused)
        allow = " ".join("+" + "|".join(words).lower() for words in refused)
        advice = f"allow what a link needs: ACL SETUSER {user} {allow}"
        return [Finding("ACL", "pass through", f"{user} may not {names}", advice)]
    return [Finding("ACL", "ok", f"user {user} may do what a link does")]


def _table(server: Server) -> list[Finding]:
    fields = server.info("stats")
    if "tracking_total_keys" not in fields:
        return []
    used = int(fields["tracking_total_keys"])
    limit = _limit(server)
    if limit == 0:
        return [Finding("tracking table", "ok", f"{used} keys, no limit")]
    found = f"{used} of {limit} keys (tracking-table-max-keys)"
    if used >= limit * TABLE_USE_NOTED:
        advice = "raise tracking-table-max-keys, exclude keys, or use tracking = bcast"
        return [Finding("tracking table", "change", found, advice)]
    return [Finding("tracking table", "ok", found)]


def _limit(server: Server) -> int:
    reply = server.ask("CONFIG", "GET", "tracking-table-max-keys")
    if isinstance(reply, Mapping):
        return int(reply.get("tracking-table-max-keys", TABLE_LIMIT_DEFAULT))
    return TABLE_LIMIT_DEFAULT


def _memory(server: Server) -> list[Finding]:
    fields = server.info("memory")
    policy, limit = fields.get("maxmemory_policy"), int(fields.get("maxmemory", "0"))
    if policy is None:
        return []
    if limit == 0:
        return [Finding("memory", "ok", "no maxmemory; nothing is evicted")]
    found = f"maxmemory {limit} bytes, {policy}"
    if policy == "noeviction":
        return [Finding("memory", "ok", found)]
    advice = (
        "reads answered by the L1 do not touch the server's LRU or LFU: a key that is hot only "
        "here may be evicted there; it is then read again"
    )
    return [Finding("memory", "note", found, advice)]


def _round_trip(server: Server) -> list[Finding]:
    samples: list[float] = []
    deadline = time.monotonic() + ROUND_TRIPS_S_MAX
    while len(samples) < ROUND_TRIPS and (not samples or time.monotonic() < deadline):
        before = time.perf_counter()
        server.ask("PING")
        samples.append(time.perf_counter() - before)
    samples.sort()
    p50 = statistics.median(samples) * 1e6
    p99 = samples[min(len(samples) - 1, int(len(samples) * 0.99))] * 1e6
    found = f"p50 {p50:.0f} us, p99 {p99:.0f} us over {len(samples)} PINGs"
    return [Finding("round trip", "ok", found, "what every hit saves, client code not counted")]


CHECKS: tuple[Callable[[Server], list[Finding]], ...] = (
    _login,
    _version,
    _resp3,
    _acl,
    _tracking,
    _table,
    _memory,
    _round_trip,
)
