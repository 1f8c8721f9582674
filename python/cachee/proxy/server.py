"""The process of `cachee proxy`: starts everything, says that it is ready, ends it in order.

The problem: signals arrive at any time and in any thread, and what they ask for (draining,
reloading) takes long or may fail. The idea: the main thread owns nothing else and only waits, for a
signal, for the end of a drain, or for the time to write the names of hot keys down. Signals reach
it through the interpreter's wake-up descriptor, so that it does not matter which thread the kernel
chose; the data path is native and does not notice any of it.

    SIGTERM, SIGINT   accept nobody, answer what is under way within drain_timeout, exit 0
    the same again    end at once, exit 1
    SIGHUP            read the limits again from file and environment; a wrong one, or a file that
                      has gone, changes nothing
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol, cast

from cachee import _core, _proxy_settings, _settings, _stats_socket
from cachee._errors import CacheeError, MissingExtraError, NotAvailableError, SettingsError
from cachee._proxy_settings import ProxySettings
from cachee._setting import Setting
from cachee._settings import Settings
from cachee._snapshot import ProxySnapshot
from cachee._warm_set import NamesHotKeys, WarmSet
from cachee.proxy import descriptors, url
from cachee.proxy.signals import Signals
from cachee.proxy.systemd import Notifier

EXIT_CUT_OFF = 1
LOOK_S = 1.0
EMBEDDED = "embedded"
PATHS = ("tls_cert", "tls_key", "tls_client_ca", "upstream_ca", "upstream_cert", "upstream_key")

__all__ = ["Ready", "native_settings", "serve"]


@dataclass(frozen=True)
class Ready:
    """What is printed once the proxy serves."""

    listen: tuple[str, ...]
    upstream: str
    admin: str
    pid: int

    def __str__(self) -> str:
        """One line.

        >>> print(Ready(("tcp://127.0.0.1:6380",), "redis://127.0.0.1:6379", "", 4242))
        ready tcp://127.0.0.1:6380 upstream redis://127.0.0.1:6379 pid 4242
        """
        words = ["ready", *self.listen, "upstream", self.upstream]
        words += ["admin", self.admin] if self.admin else []
        return " ".join([*words, "pid", str(self.pid)])


class Open(Protocol):
    """What makes the native half: `_core.Proxy`."""

    def __call__(
        self,
        *,
        listen: list[tuple[str, str, int, str]],
        upstream: dict[str, object],
        settings: dict[str, object],
    ) -> _core.Proxy: ...


def serve(
    settings: Settings,
    own: ProxySettings,
    *,
    reread: Callable[[], ProxySettings],
    announce: Callable[[Ready], None],
    say: Callable[[str], None],
    make: Open | None = None,
) -> int:
    """Run the proxy until a signal ends it; the exit code. CacheeError when it cannot start.

    `reread` gives the settings for SIGHUP, `announce` is called once it serves, `say` is for
    everything a person should know.
    """
    _check_files(settings, own)
    with contextlib.ExitStack() as stack:
        if own.upstream:
            upstream = url.parse_upstream(own.upstream)
        else:
            upstream = stack.enter_context(_embedded_valkey())
        signals = stack.enter_context(Signals())
        limits = descriptors.fit(own, say)
        proxy = _open(make or _core.Proxy, upstream, own, native_settings(settings, limits))
        stack.callback(proxy.close)
        # An embedded server has another address each time.
        named = upstream.shown if own.upstream else EMBEDDED
        warm_set = _warm_set(proxy, settings.snapshot, named, say) if settings.snapshot else None
        server = Server(proxy, signals, own, settings.mode, upstream.shown, warm_set, say)
        admin = ""
        if own.admin:
            # Here and below: what is not asked for does not delay the start.
            from cachee.proxy.admin import AdminEndpoint

            endpoint = AdminEndpoint(url.parse_admin(own.admin), server)
            admin = stack.enter_context(endpoint).url
        if settings.stats_socket:
            _stats_socket.serve(server.snapshot)
        _warn_of_strangers(own, upstream, say)
        announce(Ready(tuple(proxy.addresses), upstream.shown, admin, os.getpid()))
        return server.run(reread)


def native_settings(settings: Settings, own: ProxySettings) -> dict[str, object]:
    """The settings as the native half takes them: sizes in bytes, durations in `…_ms`.

    >>> native_settings(Settings(), ProxySettings())["write_timeout_ms"]
    60000
    """
    return {
        "threads": own.threads or min((_cores() + 1) // 2, _proxy_settings.THREADS_MAX),
        "mode": settings.mode,
        "max_memory": settings.max_memory_bytes,
        "max_age_ms": settings.max_age_ms,
        "max_staleness_ms": settings.max_staleness_ms,
        "reply_timeout_ms": settings.reply_timeout_ms,
        "connect_timeout_ms": own.connect_timeout_ms,
        "tracking": {"optin": "opt-in", "bcast": "broadcast"}.get(
            settings.tracking, settings.tracking
        ),
        "prefixes": [_bytes(each) for each in settings.prefixes],
        "learn_ttl": settings.learn_ttl,
        "prefetch": settings.prefetches(),
        "prefetch_reads": settings.prefetch_reads,
        "include": [_bytes(each) for each in settings.include],
        "exclude": [_bytes(each) for each in settings.exclude],
        "overrides": [(_bytes(each.prefix), each.mode == "on") for each in settings.overrides],
        "record": settings.record or None,
        "record_sample": settings.record_sample,
        "record_keys": settings.record_keys,
        "upstream_verify": own.upstream_verify,
        **{name: getattr(own, name) or None for name in PATHS},
        **_native_limits(own),
    }


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _native_limits(own: ProxySettings) -> dict[str, object]:
    limits: dict[str, object] = {}
    for name in _proxy_settings.LIMITS:
        field_name = _proxy_settings.TABLE[name].field_name
        limits[field_name if field_name.endswith("_ms") else name] = getattr(own, field_name)
    return limits


class Server:
    """The running proxy: its snapshot, and the loop that waits for signals."""

    def __init__(
        self,
        proxy: _core.Proxy,
        signals: Signals,
        own: ProxySettings,
        mode: str,
        upstream: str,
        warm_set: WarmSet | None,
        say: Callable[[str], None],
    ) -> None:
        self._proxy = proxy
        self._signals = signals
        self._own = own
        self._mode = mode
        self._upstream = upstream
        self._say = say
        self._started_s = time.monotonic()
        self._draining = False
        self._had_upstream = True
        self._notifier = Notifier()
        self._warm_set = warm_set

    def snapshot(self) -> ProxySnapshot:
        """Everything counted so far. Safe from any thread."""
        try:
            stats = self._proxy.stats()
        except RuntimeError:  # closed: the process is about to end
            stats = {}
        links = cast("list[Mapping[str, object]]", stats.pop("links", []))
        problem = str(stats.pop("problem", ""))
        return ProxySnapshot(
            mode=self._mode,
            pid=os.getpid(),
            version=_core.__version__,
            uptime_s=time.monotonic() - self._started_s,
            ready=self._proxy.is_ready(),
            problem=problem,
            draining=self._draining,
            listen=tuple(self._proxy.addresses),
            upstream=self._upstream,
            counted=cast("Mapping[str, int]", stats),
            links=tuple(links),
        )

    def run(self, reread: Callable[[], ProxySettings]) -> int:
        """Wait for signals and act on them; the exit code."""
        self._notifier.ready(f"serving {self._upstream}")
        while True:
            self._tell_of_upstream()
            wait_s = self._warm_set.tick() if self._warm_set is not None else LOOK_S
            numbers = self._signals.wait(min(wait_s, LOOK_S))
            stops = [each for each in numbers if each != signal.SIGHUP]
            if stops:
                return self._drain(len(stops))
            if signal.SIGHUP in numbers:
                self._reload(reread)

    def _tell_of_upstream(self) -> None:
        """One line when it is lost, and one when it is back."""
        has_upstream = self._proxy.is_ready()
        if has_upstream == self._had_upstream:
            return
        self._had_upstream = has_upstream
        problem = self.snapshot().problem
        self._say("the upstream is back" if has_upstream else f"the upstream is lost: {problem}")

    def _reload(self, reread: Callable[[], ProxySettings]) -> None:
        self._notifier.reloading()
        try:
            own = reread()
            self._proxy.reload(_native_limits(descriptors.fit(own, self._say)))
        except (CacheeError, ValueError) as error:
            self._say(f"not reloaded: {error}")
        else:
            kept = _limits_of(own, self._own)
            fixed = [
                name
                for name, row in _proxy_settings.TABLE.items()
                if getattr(own, row.field_name) != getattr(kept, row.field_name)
            ]
            self._own = kept
            self._say("limits reloaded")
            if fixed:
                self._say(f"changed, but only for the next start: {', '.join(fixed)}")
        self._notifier.ready(f"serving {self._upstream}")

    def _drain(self, asked: int) -> int:
        """Let replies under way out; a second request to stop ends that at once."""
        self._draining = True
        self._notifier.stopping()
        if self._warm_set is not None:
            self._warm_set.save()
        over = threading.Event()
        gone: list[bool] = []

        def drain() -> None:
            try:
                gone.append(self._proxy.drain(self._own.drain_timeout_ms / 1000))
            finally:
                over.set()
                self._signals.wake()

        threading.Thread(target=drain, name="cachee-drain", daemon=True).start()
        while not over.is_set() and asked == 1:
            asked += len([each for each in self._signals.wait(None) if each != signal.SIGHUP])
        if asked > 1:
            # Nothing may wait any more, not even for threads; an embedded server ends with us.
            os._exit(EXIT_CUT_OFF)
        if gone != [True]:
            self._say("drain_timeout is over: the clients that were left are cut off")
        return 0


@contextlib.contextmanager
def _embedded_valkey() -> Iterator[url.Upstream]:
    from cachee import embedded

    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(embedded.valkey())
        except MissingExtraError as error:
            raise CacheeError(f"no upstream is given and {error}") from None
        yield url.parse_upstream(server.url)


def _open(
    make: Open, upstream: url.Upstream, own: ProxySettings, settings: dict[str, object]
) -> _core.Proxy:
    listeners = [url.parse_listen(each) for each in own.listen]
    password = None if upstream.password is None else _bytes(upstream.password)
    try:
        return make(
            listen=[(each.scheme, each.host, each.port, each.path) for each in listeners],
            upstream={**asdict(upstream), "hosts": list(upstream.hosts), "password": password},
            settings=settings,
        )
    except OSError as error:
        raise CacheeError(f"cannot listen on {error}") from None
    except ValueError as error:
        raise CacheeError(str(error)) from None


def _warm_set(native: object, path: str, upstream: str, say: Callable[[str], None]) -> WarmSet:
    if not isinstance(native, NamesHotKeys):
        raise NotAvailableError("snapshot, the warm restart,")
    return WarmSet(native, path, upstream, say)


def _check_files(settings: Settings, own: ProxySettings) -> None:
    """Find out before clients are accepted, not after."""
    for name in PATHS:
        row, path = _proxy_settings.TABLE[name], getattr(own, name)
        if not path:
            continue
        try:
            with Path(path).open("rb"):
                pass
        except OSError as error:
            allowed = f"{row.allowed} ({error.strerror})"
            raise SettingsError(name, path, allowed, "settings") from None
    _check_folder(_settings.TABLE["snapshot"], settings.snapshot)
    _check_folder(_settings.TABLE["record"], settings.record)


def _check_folder(row: Setting, path: str) -> None:
    """Whether a file may be made there."""
    if not path or (os.access(Path(path).parent, os.W_OK | os.X_OK) and not Path(path).is_dir()):
        return
    allowed = f"{row.allowed} (its directory must be there and writable)"
    raise SettingsError(row.name, path, allowed, "settings")


def _warn_of_strangers(
    own: ProxySettings, upstream: url.Upstream, say: Callable[[str], None]
) -> None:
    """Whoever reaches a listener acts with the rights the proxy was given."""
    open_to_others = [each for each in own.listen if not url.parse_listen(each).is_local]
    if open_to_others and upstream.password is not None and not own.tls_client_ca:
        say(
            f"{', '.join(open_to_others)} can be reached from other machines, and every client "
            f"that does not log in acts as the user of {upstream.shown}"
        )


def _limits_of(own: ProxySettings, others: ProxySettings) -> ProxySettings:
    """`others` with what a running proxy takes over from `own`."""
    taken = [_proxy_settings.TABLE[name].field_name for name in _proxy_settings.LIMITS]
    taken.append("drain_timeout_ms")
    return replace(others, **{name: getattr(own, name) for name in taken})


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else (os.cpu_count() or 1)
