"""`install`, `uninstall`, `stats`, `explain`: what an application calls."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Literal, NoReturn

from cachee import _engine
from cachee._explain import Explanation
from cachee._settings import Override, Settings, check_settings
from cachee._snapshot import Snapshot
from cachee._sources import load_settings

__all__ = ["explain", "install", "stats", "uninstall"]


def install(
    settings: Settings | None = None,
    *,
    mode: Literal["on", "observe", "off"] | None = None,
    max_memory: int | str | None = None,
    max_age: float | str | None = None,
    max_staleness: float | str | None = None,
    include: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] | None = None,
    overrides: Mapping[str, Mapping[str, str]] | Iterable[Override] | None = None,
    tracking: Literal["default", "optin", "bcast"] | None = None,
    prefixes: str | Iterable[str] | None = None,
    learn_ttl: bool | None = None,
    reply_timeout: float | str | None = None,
    prefetch: Literal["on", "observe", "off"] | None = None,
    prefetch_reads: int | None = None,
    snapshot: str | None = None,
    record: str | os.PathLike[str] | None = None,
    record_sample: int | None = None,
    record_keys: Literal["hashed", "plain"] | None = None,
    stats_socket: bool | None = None,
    **unknown: NoReturn,
) -> None:
    """Serve the cacheable reads of every redis-py and valkey-py client of this process.

    Clients made before and after are served alike, also when the library is imported later. What is
    given here wins over the environment (CACHEE_…), which wins over cachee.toml or [tool.cachee];
    with `settings` given, nothing else is read. `max_memory` is bytes or text ("64mb"), durations
    are seconds or text ("500ms"), None means not given. `record` names the file of what is
    asked for, which `cachee simulate` plays. `cachee config` lists every setting.

    Safe from any thread; calling it again applies the new settings to an empty L1. A forked child
    is served too, from an L1 of its own. No connection is opened before a read could use it.

    Raises SettingsError for a wrong name or value, TypeError for settings of another type or with
    keywords beside them, both before anything is changed.

    >>> import cachee
    >>> cachee.install(max_memory="64mb", max_age="30s")
    >>> cachee.stats().capacity_bytes
    67108864
    >>> cachee.uninstall()
    """
    arguments: dict[str, object] = {
        "mode": mode,
        "max_memory": max_memory,
        "max_age": max_age,
        "max_staleness": max_staleness,
        "include": _listed(include),
        "exclude": _listed(exclude),
        "overrides": overrides if isinstance(overrides, Mapping) else _tupled(overrides),
        "tracking": tracking,
        "prefixes": _listed(prefixes),
        "learn_ttl": learn_ttl,
        "reply_timeout": reply_timeout,
        "prefetch": prefetch,
        "prefetch_reads": prefetch_reads,
        "snapshot": snapshot,
        "record": record,
        "record_sample": record_sample,
        "record_keys": record_keys,
        "stats_socket": stats_socket,
        **unknown,
    }
    _start(_settings_of(settings, arguments))


def _settings_of(settings: Settings | None, arguments: Mapping[str, object]) -> Settings:
    """What is given as a whole, or value by value; either, not both."""
    if settings is None:
        return load_settings(arguments)
    given = [name for name, value in arguments.items() if value is not None]
    if not isinstance(settings, Settings):
        raise TypeError(f"settings must be a Settings, not {type(settings).__name__}")
    if given:
        raise TypeError(f"install takes settings or {given[0]}, not both")
    check_settings(settings)
    return settings


def install_automatically() -> None:
    """`install()` as `import cachee.auto` and `cachee run` do it: answers `cachee stats` too."""
    _start(load_settings(base=Settings(stats_socket=True)))


def _start(settings: Settings) -> None:
    from cachee.integrations.redis import RedisIntegration

    process = _engine.start(settings, [RedisIntegration()])
    if process is not None and settings.stats_socket:
        from cachee import _stats_socket

        _stats_socket.serve(stats)


def uninstall() -> None:
    """Put the client classes back as they were, drop the L1 and close the links. Idempotent.

    A call that is under way in another thread finishes normally.

    >>> import cachee
    >>> cachee.uninstall()
    """
    _engine.stop()


def stats() -> Snapshot:
    """What the L1 of this process has done so far; all zeros when cachee is not installed.

    Costs a few microseconds. Safe from any thread; after a fork the child counts from zero.

    >>> import cachee
    >>> cachee.stats().hit_rate
    0.0
    """
    process = _engine.current()
    return process.snapshot() if process is not None else Snapshot()


def explain(key: str | bytes) -> Explanation:
    """Why this key is or is not served from the L1 of this process, as of now.

    A str key is taken as UTF-8, as clients send it unless told otherwise. Never asks a server.

    >>> import cachee
    >>> print(cachee.explain("user:42"))
    user:42: not served
      - cachee is not installed in this process (or its mode is off)
    """
    if not isinstance(key, (str, bytes)):
        raise TypeError(f"key must be str or bytes, not {type(key).__name__}")
    name = key.encode("utf-8", "surrogateescape") if isinstance(key, str) else key
    process = _engine.current()
    if process is None:
        reason = "cachee is not installed in this process (or its mode is off)"
        return Explanation(name, False, (reason,), ())
    return process.explain(name)


def _listed(value: str | Iterable[str] | None) -> object:
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else value


def _tupled(value: Iterable[Override] | None) -> object:
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else value
