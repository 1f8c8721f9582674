"""The process's engine: made by `install`, forgotten in a forked child, closed at exit.

The problem: there is one L1 in a process, its links own sockets and threads, and a process may fork
at any moment or end while other threads still read. The idea: one `Process` object holds the
settings and, from the first cacheable read on, the native `Engine`. A fork drops the child's
reference to it without touching a lock or a socket; the child makes its own at its first read. At
exit the links are closed before the interpreter takes its modules apart, and every later read is a
miss that goes to the store.

Integrations come in as `Integration`s and know this module; it knows none of them.
"""

from __future__ import annotations

import atexit
import logging
import os
import re
import threading
from collections import Counter
from pathlib import Path
from typing import Any, Protocol, cast

from cachee import _core
from cachee._explain import Explanation
from cachee._hot_keys import HotKey
from cachee._settings import Settings
from cachee._snapshot import COUNTERS, LinkSnapshot, Snapshot, shared_doubts
from cachee._warm_set import WarmThread

logger = logging.getLogger("cachee")

REASONS_MAX = 1_000
"""Distinct pass-through reasons remembered (and warned of) in one process."""


RULES_SHOWN = 20
"""Rules of one link that a snapshot shows."""

RULES_SEARCHED = 1_000
"""Of one link, for those that lead to a key."""


class Integration(Protocol):
    """What hooks a client library: `attach` once, `detach` undoes it, `forget` after a fork."""

    def attach(self, process: Process) -> None: ...
    def detach(self) -> None: ...
    def forget(self) -> None: ...


class Process:
    """Settings, the native engine and the reasons why something is passed through."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.admits = settings.admits()
        self.record = Path(settings.record).absolute() if settings.record else None
        self.closed = False
        self._lock = threading.Lock()
        self.core: _core.Engine | None = None
        """The native engine once a read has needed one."""
        self._reasons: Counter[str] = Counter()
        self._not_asked: Counter[str] = Counter()
        self._counting = threading.RLock()  # a signal handler may read while its thread counts
        self._bindings: dict[tuple[object, ...], _core.Binding] = {}
        self._warm: WarmThread | None = None
        # The program may change its directory.
        self.snapshot_path = str(Path(settings.snapshot).absolute()) if settings.snapshot else ""

    def open(self) -> _core.Engine | None:
        """The native engine, made at the first call; None after the interpreter's exit began."""
        core = self.core
        if core is not None:
            return core
        with self._lock:
            if self.core is None and not self.closed:
                settings = self.settings
                self.core = _core.Engine(
                    max_memory=settings.max_memory_bytes,
                    max_age_ms=settings.max_age_ms,
                    max_staleness_ms=settings.max_staleness_ms,
                    tracking={"optin": "opt-in", "bcast": "broadcast"}.get(
                        settings.tracking, settings.tracking
                    ),
                    prefixes=[
                        prefix.encode("utf-8", "surrogateescape") for prefix in settings.prefixes
                    ],
                    learn_ttl=settings.learn_ttl,
                    reply_timeout_ms=settings.reply_timeout_ms,
                    prefetch=settings.prefetches(),
                    prefetch_reads=settings.prefetch_reads,
                    admission=settings.admission(),
                    record=self.record,
                    record_sample=settings.record_sample,
                    record_keys=settings.record_keys,
                )
                if self.snapshot_path:
                    names = _Names(self.core, settings.admission())
                    self._warm = WarmThread.start(names, self.snapshot_path)
            return self.core

    def pass_through(self, reason: str) -> None:
        """Count a client that is not served, and warn at the first one of each reason."""
        known = reason in self._reasons
        if not known and len(self._reasons) >= REASONS_MAX:
            return
        self._reasons[reason] += 1
        if not known:
            logger.warning("cachee: not cached, passed through: %s", reason)

    def count_bypass(self, reason: str) -> None:
        """Count a cacheable read that the L1 was not even asked for."""
        with self._counting:
            self._not_asked[reason] += 1

    def binding(self, engine: _core.Engine, link: _core.Link, **decoding: Any) -> _core.Binding:
        """One binding for each link and decoding, shared by the pools that read alike."""
        key = (id(link), *decoding.values())
        binding = self._bindings.get(key)
        if binding is None:
            binding = self._bindings[key] = _core.Binding(engine, link, **decoding)
        return binding

    def snapshot(self) -> Snapshot:
        """Everything counted so far."""
        core = self.core
        counted = core.stats() if core is not None else {}
        links = core.links() if core is not None else []
        prefetch: Counter[str] = Counter()
        for link in links:
            prefetch.update(link.prefetch())
        rules = [rule for link in links for rule in link.rules(RULES_SHOWN)]
        return Snapshot(
            mode=self.settings.mode,
            pid=os.getpid(),
            warmed=sum(cast(int, link.info()["warmed"]) for link in links),
            entries=counted.get("entries", 0),
            weight_bytes=counted.get("weight_bytes", 0),
            capacity_bytes=counted.get("capacity_bytes", self.settings.max_memory_bytes),
            bypasses=dict(self._bypasses()),
            pass_through=dict(self._reasons),
            links=tuple(map(_link_snapshot, links)),
            prefetch=dict(prefetch),
            prefetch_doubts=shared_doubts([link.prefetch_doubts() for link in links]),
            rules=tuple(rules),
            **{name: counted.get(name, 0) for name in COUNTERS},
        )

    def explain(self, key: bytes) -> Explanation:
        """Why this key is or is not served."""
        reasons: list[str] = []
        entries: tuple[dict[str, object], ...] = ()
        if self.settings.mode == "observe":
            reasons.append("mode is observe: everything is scored, the store always answers")
        if self.admits is not None and not self.admits(key):
            reasons.append("the key is not admitted by include, exclude or overrides")
        prefixes = [prefix.encode("utf-8", "surrogateescape") for prefix in self.settings.prefixes]
        if prefixes and not key.startswith(tuple(prefixes)):
            reasons.append("tracking is bcast and no prefix of it covers the key")
        reasons += [f"clients not served: {reason} ({n})" for reason, n in self._reasons.items()]
        core = self.core
        links = core.links() if core is not None else []
        for link in links:
            state, text = link.status()
            if state != "ready":
                reasons.append(f"a link is {state}: {text}" if text else f"a link is {state}")
        if core is None:
            reasons.append("no cacheable read has come through a client yet")
        else:
            entries = tuple(core.inspect(key))
            if not entries:
                reasons.append(
                    "nothing of it is in the L1: not read yet, changed, evicted or too large"
                )
            reasons += [
                f"loaded ahead by {rule['source']} -> {rule['target']}, right in "
                f"{rule['precision']:.0%} of the latest"
                for link in links
                for rule in link.rules(RULES_SEARCHED)
                if rule["trusted"] and _leads_to(str(rule["target"]), key)
            ]
        bypasses = self._bypasses()
        del bypasses["connecting"]  # over by now, or said by the link's own line
        if bypasses:
            counts = ", ".join(f"{reason} {n}" for reason, n in bypasses.most_common())
            reasons.append(f"of any key, reads of this process that went to the store: {counts}")
        ready = any(link.status()[0] == "ready" for link in links)
        present = any(entry.get("state") in ("held", "ahead") for entry in entries)
        return Explanation(
            key, present and ready and self.settings.mode == "on", tuple(reasons), entries
        )

    def _bypasses(self) -> Counter[str]:
        with self._counting:
            counts = Counter(self._not_asked)
        for binding in list(self._bindings.values()):
            counts.update(binding.bypasses())
        return counts

    def close(self) -> None:
        """Close the links; every later read is a miss. Idempotent."""
        with self._lock:
            self.closed = True
            core = self.core
            warm, self._warm = self._warm, None
        if warm is not None:
            warm.stop()
        if core is not None:
            core.close()

    def forget(self) -> None:
        """In a forked child: leave the parent's engine behind and touch none of its locks."""
        self._lock = threading.Lock()
        self._counting = threading.RLock()
        self._not_asked = Counter()
        core, self.core = self.core, None
        self._reasons = Counter()
        self._bindings = {}
        self._warm = None
        if core is not None:
            core.after_fork_in_child()


class _Names:
    """The hot keys of one engine, for the warm set."""

    def __init__(self, core: _core.Engine, admission: _core.Admission) -> None:
        self._core, self._admission = core, admission

    def is_ready(self) -> bool:
        return True

    def hot_keys(self, count: int) -> list[HotKey]:
        return self._core.hot_keys(count)

    def warm(self, names: list[HotKey]) -> None:
        self._core.warm(names, self._admission)


def _leads_to(target: str, key: bytes) -> bool:
    """Whether a rule's target, such as "GET perm:{value.user_id}", may be this key.

    >>> _leads_to("GET perm:{value.user_id}", b"perm:42")
    True
    """
    template = target.split(" ")[1] if " " in target else target
    parts = re.split(r"\{[^}]*\}", template)
    name = key.decode("latin-1").encode("unicode_escape").decode()
    return re.fullmatch(".+".join(map(re.escape, parts)), name) is not None


def _link_snapshot(link: _core.Link) -> LinkSnapshot:
    state, reason = link.status()
    described = link.info()
    return LinkSnapshot(f"{described['address']}/{described['db']}", state, reason)


_process: Process | None = None
_integrations: list[Integration] = []
_lock = threading.RLock()
_hooks_registered = False


def current() -> Process | None:
    """The process's state if `install` was called."""
    return _process


def start(settings: Settings, integrations: list[Integration]) -> Process | None:
    """Make the process state and attach the integrations; None in mode off.

    Called again, the earlier state is stopped first, so that settings can be changed.
    """
    global _process
    with _lock:
        stop()
        if settings.mode == "off":
            return None
        _register_hooks()
        process = Process(settings)
        _process = process
        for integration in integrations:
            _integrations.append(integration)
            integration.attach(process)
        return process


def stop() -> None:
    """Detach everything and close the links. Idempotent."""
    global _process
    with _lock:
        process, _process = _process, None
        while _integrations:
            _integrations.pop().detach()
        if process is not None:
            process.close()


def _register_hooks() -> None:
    global _hooks_registered
    if _hooks_registered:
        return
    _hooks_registered = True
    os.register_at_fork(after_in_child=_after_fork)
    atexit.register(_at_exit)


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()
    if _process is None:
        return
    for integration in _integrations:
        integration.forget()
    _process.forget()


def _at_exit() -> None:
    if _process is not None:
        _process.close()
