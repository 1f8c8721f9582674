"""The settings only `cachee proxy` has: where it listens, what is behind it, what a client may use.

The L1's settings (`_settings.py`) hold for the proxy too. Every limit is explicit here, because the
proxy stands where anybody may connect: how many clients, how much each may have it hold before and
after the server has accepted its credentials, how long it may be silent. The defaults are those of
the server itself where the server has the same limit, so that nothing that passes there fails here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from cachee._errors import SettingsError
from cachee._setting import (
    Section,
    Setting,
    as_table,
    count_row,
    duration_row,
    optional,
    path_row,
    render_list,
    size_row,
    texts,
    word_row,
)
from cachee.proxy import url

Verify = Literal["full", "chain", "none"]

__all__ = ["LIMITS", "SECTION", "TABLE", "ProxySettings"]

DEFAULT_LISTEN = "tcp://127.0.0.1:6380"
KB, MB, GB = 1024, 1024**2, 1024**3

THREADS_MAX = 64
CLIENTS_MAX = 1_000_000
BUFFER_LIMITS_BYTES = (KB, 64 * GB)
BULK_LIMITS_BYTES = (KB, 64 * GB)
PIPELINE_LIMITS = (1, 1_000_000)
ARGS_LIMITS = (1, 2**31 - 1)
LISTENERS_MAX = 16
CONNECT_TIMEOUT_LIMITS_MS = (10, 60_000)
IDLE_TIMEOUT_LIMITS_MS = (1_000, 7 * 86_400_000)
WRITE_TIMEOUT_LIMITS_MS = (100, 3_600_000)
DRAIN_TIMEOUT_LIMITS_MS = (0, 3_600_000)


@dataclass(frozen=True)
class ProxySettings:
    """What `cachee proxy` is told beyond the L1's settings; `upstream` "" is an embedded Valkey.

    >>> ProxySettings().listen, ProxySettings().max_clients
    (('tcp://127.0.0.1:6380',), 10000)
    """

    listen: tuple[str, ...] = (DEFAULT_LISTEN,)
    upstream: str = ""
    admin: str = ""
    threads: int = 0
    connect_timeout_ms: int = 1_000
    drain_timeout_ms: int = 10_000
    tls_cert: str = ""
    tls_key: str = ""
    tls_client_ca: str = ""
    upstream_ca: str = ""
    upstream_cert: str = ""
    upstream_key: str = ""
    upstream_verify: Verify = "full"
    max_clients: int = 10_000
    query_buffer_bytes: int = 1 * GB
    query_buffer_unauthenticated_bytes: int = 64 * KB
    output_buffer_bytes: int = 32 * MB
    pipeline: int = 1_024
    max_bulk_bytes: int = 512 * MB
    max_bulk_unauthenticated_bytes: int = 16 * KB
    max_args: int = 2**31 - 1
    max_args_unauthenticated: int = 10
    idle_timeout_ms: int = 0
    write_timeout_ms: int = 60_000

    def __repr__(self) -> str:
        shown = (
            f"{each.name}={_shown(each.name, getattr(self, each.name))!r}" for each in fields(self)
        )
        return f"ProxySettings({', '.join(shown)})"


def _shown(name: str, value: object) -> object:
    return url.redact(str(value)) if name == "upstream" else value


def _check_together(settings: ProxySettings) -> None:
    if any(each.startswith("tls:") for each in settings.listen) and not settings.tls_cert:
        raise SettingsError("tls_cert", "", "a certificate, since listen has tls://", "settings")
    for name, needed in (("tls_key", "tls_cert"), ("tls_client_ca", "tls_cert")):
        _check_beside(settings, name, needed)
    _check_beside(settings, "upstream_key", "upstream_cert")
    over_tls = settings.upstream.startswith("rediss:")
    for name in ("upstream_ca", "upstream_cert"):
        if getattr(settings, name) and not over_tls:
            allowed = "empty unless upstream is rediss://"
            raise SettingsError(name, getattr(settings, name), allowed, "settings")
    for row, limit in (
        (TABLE["query_buffer_unauthenticated"], TABLE["query_buffer"]),
        (TABLE["max_bulk_unauthenticated"], TABLE["max_bulk"]),
        (TABLE["max_args_unauthenticated"], TABLE["max_args"]),
    ):
        if getattr(settings, row.field_name) > getattr(settings, limit.field_name):
            allowed = f"at most {limit.name}, which is {limit.show(settings)}"
            raise SettingsError(row.name, row.show(settings), allowed, "settings")


def _check_beside(settings: ProxySettings, name: str, needed: str) -> None:
    if getattr(settings, name) and not getattr(settings, needed):
        raise SettingsError(name, getattr(settings, name), f"empty without {needed}", "settings")


def _listeners(value: object) -> object:
    addresses = tuple(url.parse_listen(each).url for each in texts(value))
    fixed = [each for each in addresses if not each.endswith(":0")]
    if not 1 <= len(addresses) <= LISTENERS_MAX or len(set(fixed)) != len(fixed):
        raise ValueError(value)
    return addresses


def _admin(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return optional(lambda text: url.parse_admin(text).address)(value)


def _hidden(value: object) -> object:
    return url.redact(value) if isinstance(value, str) else value


TABLE = as_table(
    Setting(
        "listen",
        "listen",
        "list of addresses",
        "where clients of the proxy are listened for; port 0 lets the system choose",
        f"1 to {LISTENERS_MAX} different ones of {url.LISTEN_SYNTAX}",
        _listeners,
        render_list,
    ),
    Setting(
        "upstream",
        "upstream",
        "address",
        "the server behind the proxy; empty starts an embedded Valkey that ends with the proxy. "
        "Clients that do not log in themselves are the user given here",
        f"empty, or {url.UPSTREAM_SYNTAX}",
        optional(lambda text: url.parse_upstream(text).url),
        hide=_hidden,
    ),
    Setting(
        "admin",
        "admin",
        "address",
        "where /metrics, /healthz, /readyz and /stats are answered over HTTP; empty: nowhere",
        f"empty, or {url.ADMIN_SYNTAX}",
        _admin,
    ),
    count_row(
        "threads",
        (1, THREADS_MAX),
        "event loops of the proxy; each serves some million hits a second",
        zero="for one every two cores",
    ),
    duration_row(
        "connect_timeout",
        CONNECT_TIMEOUT_LIMITS_MS,
        "how long a connection to the upstream may take to be made",
    ),
    duration_row(
        "drain_timeout",
        DRAIN_TIMEOUT_LIMITS_MS,
        "how long clients may take to get their replies after SIGTERM",
    ),
    path_row("tls_cert", "the certificate chain of tls:// listeners", "a PEM file"),
    path_row("tls_key", "its private key; empty: in the file of tls_cert", "a PEM file"),
    path_row(
        "tls_client_ca", "clients must show a certificate signed by one of these", "a PEM file"
    ),
    path_row(
        "upstream_ca",
        "who may have signed the upstream's certificate; empty: the system's list",
        "a PEM file",
    ),
    path_row("upstream_cert", "the certificate shown to the upstream", "a PEM file"),
    path_row("upstream_key", "its private key; empty: in the file of upstream_cert", "a PEM file"),
    word_row(
        "upstream_verify",
        ("full", "chain", "none"),
        "what is checked of the upstream's certificate: full (signature and name), chain "
        "(signature) or none",
    ),
    count_row("max_clients", (1, CLIENTS_MAX), "clients at a time; one more is refused"),
    size_row(
        "query_buffer",
        BUFFER_LIMITS_BYTES,
        "how much of a command that is not complete yet is held for one client",
    ),
    size_row(
        "query_buffer_unauthenticated",
        BUFFER_LIMITS_BYTES,
        "the same before the upstream has accepted the client",
    ),
    size_row(
        "output_buffer",
        BUFFER_LIMITS_BYTES,
        "how many bytes of replies are held for a client that does not read them",
    ),
    count_row(
        "pipeline", PIPELINE_LIMITS, "commands of one client under way; more are not read meanwhile"
    ),
    size_row("max_bulk", BULK_LIMITS_BYTES, "the longest argument of a command"),
    size_row(
        "max_bulk_unauthenticated",
        BULK_LIMITS_BYTES,
        "the same before the upstream has accepted the client",
    ),
    count_row("max_args", ARGS_LIMITS, "the most arguments of a command"),
    count_row(
        "max_args_unauthenticated",
        ARGS_LIMITS,
        "the same before the upstream has accepted the client",
    ),
    duration_row(
        "idle_timeout",
        IDLE_TIMEOUT_LIMITS_MS,
        "a client silent for this long is closed",
        zero="for never",
    ),
    duration_row(
        "write_timeout",
        WRITE_TIMEOUT_LIMITS_MS,
        "a client that takes nothing for this long while replies wait is closed",
    ),
)

LIMITS = (
    "max_clients",
    "query_buffer",
    "query_buffer_unauthenticated",
    "output_buffer",
    "pipeline",
    "max_bulk",
    "max_bulk_unauthenticated",
    "max_args",
    "max_args_unauthenticated",
    "idle_timeout",
    "write_timeout",
)
"""What a running proxy takes over on SIGHUP."""

SECTION = Section("cachee proxy", ProxySettings(), TABLE, _check_together)
