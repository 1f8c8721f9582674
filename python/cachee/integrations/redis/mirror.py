"""How a pool connects, as arguments for a link that reads the same data with the same rights.

The problem: L1 entries must be what this very client would have read, so the link has to reach the
same server as the same user in the same database. The idea: the pool says how it connects; each
argument is either mirrored, known not to matter for what a read returns (timeouts, retries,
keepalive, names), or a reason to leave the client alone. Nothing is guessed: a connection class or
a parser that is not the library's own may do anything, so such a client passes through.

Rejected: connecting the link through the client's own connection class. It would mirror everything,
but the socket would live in Python, and the order of replies and pushes with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cachee.integrations.redis.library import Flavour

__all__ = ["Mirror", "Refusal", "mirror_pool"]

Credentials = Callable[[], tuple[str | None, str | bytes | None]]

LINK_NAME = "cachee"
"""CLIENT SETNAME of a link's connection, so that an operator sees whose it is."""

PROVIDERS_MAX = 256
"""Credential providers remembered; links beyond `views.LINKS_MAX` are not opened anyway."""

_UNMIRRORED_TLS = (
    "ssl_ca_path",
    "ssl_password",
    "ssl_validate_ocsp",
    "ssl_validate_ocsp_stapled",
    "ssl_ocsp_context",
    "ssl_ocsp_expected_cert",
    "ssl_include_verify_flags",
    "ssl_exclude_verify_flags",
    "ssl_ciphers",
)
_TLS_1_2 = 771

_credential_calls: dict[int, tuple[Any, Credentials]] = {}
"""By the provider's id, the provider kept alive beside it: a link asks it as long as it lives."""


@dataclass(frozen=True)
class Mirror:
    """What a link and a binding are opened with."""

    link: Mapping[str, Any]
    decode: bool
    encoding: str
    errors: str
    resp2: bool


@dataclass(frozen=True)
class Refusal:
    """Why a client passes through; `reason` is one sentence for the log and for explain."""

    reason: str


def mirror_pool(flavour: Flavour, pool: Any) -> Mirror | Refusal:
    """How to read as this pool's clients do, or why that cannot be."""
    arguments: Mapping[str, Any] = pool.connection_kwargs
    reason = (
        _pool_reason(flavour, pool)
        or _parser_reason(flavour, arguments)
        or _tls_reason(flavour, pool.connection_class, arguments)
    )
    if reason is not None:
        return Refusal(f"{flavour.name}: {reason}")
    unix = pool.connection_class is flavour.unix_class
    username, password, credentials = _credentials(arguments)
    link = {
        "host": None if unix else str(arguments.get("host") or "localhost"),
        "port": 0 if unix else int(arguments.get("port") or 6379),
        "path": str(arguments.get("path") or "") if unix else None,
        "db": int(arguments.get("db") or 0),
        "username": username,
        "password": password,
        "credentials": credentials,
        "tls": _tls(flavour, arguments) if pool.connection_class is flavour.tls_class else None,
        "client_name": LINK_NAME,
    }
    return Mirror(
        link=link,
        decode=bool(arguments.get("decode_responses", False)),
        encoding=str(arguments.get("encoding", "utf-8")),
        errors=str(arguments.get("encoding_errors", "strict")),
        resp2=_protocol(flavour, arguments) == 2,
    )


def _pool_reason(flavour: Flavour, pool: Any) -> str | None:
    own = (flavour.tcp_class, flavour.tls_class, flavour.unix_class)
    if pool.connection_class not in own:
        kind = getattr(pool.connection_class, "__name__", str(pool.connection_class))
        if "Sentinel" in kind:
            return "Sentinel clients are not served yet"
        return f"its connection class {kind} is not the library's own"
    for name in ("get_connection", "make_connection"):
        method = getattr(type(pool), name, None)
        module = getattr(method, "__module__", "") or ""
        if not module.startswith(flavour.library + "."):
            return f"its pool class {type(pool).__name__} has a {name} of its own"
    if getattr(pool, "cache", None) is not None:
        return "it uses the client's own cache"
    return None


def _parser_reason(flavour: Flavour, arguments: Mapping[str, Any]) -> str | None:
    if arguments.get("cache_enabled") or arguments.get("client_cache") is not None:
        return "it uses the client's own cache"
    parser = arguments.get("parser_class")
    if parser is not None:
        module = getattr(parser, "__module__", "") or ""
        name = getattr(parser, "__name__", str(parser))
        if "Cluster" in name:
            return "Cluster clients are not served yet"
        if not module.startswith(f"{flavour.library}._parsers"):
            return f"its parser class {name} is not the library's own"
    for name in ("redis_connect_func", "valkey_connect_func", "encoder_class", "command_packer"):
        if arguments.get(name) is not None:
            return f"{name} may change what its connections are"
    if _protocol(flavour, arguments) == 3 and _makes_sets(flavour, parser):
        return "its RESP3 parser makes Python sets; redis-py 5.1 and later or hiredis do not"
    if _protocol(flavour, arguments) not in (2, 3):
        return f"protocol {arguments.get('protocol')!r} is unknown"
    try:
        int(arguments.get("db") or 0)
    except (TypeError, ValueError):
        return f"db {arguments.get('db')!r} is not a number"
    return None


def _makes_sets(flavour: Flavour, parser: Any) -> bool:
    return flavour.old and "iredis" not in (parser or flavour.default_parser).__name__


def _protocol(flavour: Flavour, arguments: Mapping[str, Any]) -> int:
    given = arguments.get("protocol")
    if given is None:
        return flavour.default_protocol
    try:
        return int(given)
    except (TypeError, ValueError):
        return 0


def _credentials(arguments: Mapping[str, Any]) -> tuple[str | None, Any, Credentials | None]:
    provider = arguments.get("credential_provider")
    if provider is not None:
        return None, None, _call_for(provider)
    username, password = arguments.get("username") or None, arguments.get("password") or None
    if username is not None and password is None:
        password = ""
    return username, password, None


def _call_for(provider: Any) -> Credentials:
    """One callable a provider, so that its clients share one link."""
    known = _credential_calls.get(id(provider))
    if known is not None:
        return known[1]

    def ask() -> tuple[str | None, str | bytes | None]:
        given = tuple(provider.get_credentials())
        return (None, given[0]) if len(given) == 1 else (given[0] or None, given[1])

    if len(_credential_calls) < PROVIDERS_MAX:
        _credential_calls[id(provider)] = (provider, ask)
    return ask


def _tls_reason(
    flavour: Flavour, connection_class: type, arguments: Mapping[str, Any]
) -> str | None:
    if connection_class is not flavour.tls_class:
        return None
    for name in _UNMIRRORED_TLS:
        if arguments.get(name):
            return f"{name} cannot be mirrored"
    minimum = arguments.get("ssl_min_version")
    if minimum is not None and int(minimum) > _TLS_1_2:
        return "ssl_min_version above TLS 1.2 cannot be mirrored"
    if isinstance(arguments.get("ssl_ca_data"), (bytes, bytearray)):
        return "ssl_ca_data in DER cannot be mirrored"
    if _verify(flavour, arguments) is None:
        return f"ssl_cert_reqs {arguments.get('ssl_cert_reqs')!r} is unknown"
    return None


def _tls(flavour: Flavour, arguments: Mapping[str, Any]) -> dict[str, object]:
    return {
        "verify": _verify(flavour, arguments),
        "server_name": None,
        "ca_file": arguments.get("ssl_ca_certs"),
        "ca_data": arguments.get("ssl_ca_data"),
        "cert_file": arguments.get("ssl_certfile"),
        "key_file": arguments.get("ssl_keyfile"),
    }


def _verify(flavour: Flavour, arguments: Mapping[str, Any]) -> str | None:
    """One of full, no-hostname and none; for a client OpenSSL's "optional" means "required"."""
    reqs = arguments.get("ssl_cert_reqs", flavour.tls_defaults.get("ssl_cert_reqs", "required"))
    if reqs is None or reqs == "none" or reqs == 0:
        return "none"
    if reqs not in ("required", "optional", 1, 2):
        return None
    default = flavour.tls_defaults.get("ssl_check_hostname", False)
    return "full" if arguments.get("ssl_check_hostname", default) else "no-hostname"
