"""Clients that count keys up and check what they read, while something happens to the servers.

Each key has one writer, so that its values only grow and every one of them says when it was
written. A read is wrong when it is older than a write that was acknowledged before the read began
(whoever wrote it: all go through the same proxy), or newer than any write that was begun.
"""

import itertools
import random
import threading
from collections.abc import Callable, Sequence
from typing import Any

from tests.harness.waiting import until

_READERS = 3


class Counting:
    """Writers and readers, each a thread with a client of its own, for one block.

    `groups` are keys that may be read by one command; each group has one writer.
    """

    def __init__(self, connect: Callable[[], Any], groups: Sequence[Sequence[str]], seed: int = 1):
        self._connect, self._groups, self._seed = connect, groups, seed
        self._begun = {key: 0 for group in groups for key in group}
        self._acknowledged = dict(self._begun)
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self.writes = self.reads = 0
        self.errors: list[Exception] = []
        self.violations: list[str] = []

    def __enter__(self) -> "Counting":
        works = [lambda group=group: self._write(group) for group in self._groups]
        works += [lambda n=n: self._read(random.Random(self._seed + n)) for n in range(_READERS)]
        self._threads = [threading.Thread(target=work, daemon=True) for work in works]
        for thread in self._threads:
            thread.start()
        self.go_on()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive(), "a client hangs"

    def go_on(self, writes: int = 100) -> None:
        """Waits for so many more writes: the clients are at work, not waiting for anything."""
        wanted = self.writes + writes
        until(lambda: self.writes >= wanted, "the clients go on", 30.0)

    def acknowledged(self, key: str) -> int:
        """The newest value of a key whose write was answered."""
        return self._acknowledged[key]

    def _write(self, group: Sequence[str]) -> None:
        client = self._connect()
        for value in itertools.count(1):
            for key in group:
                if self._over.is_set():
                    return
                self._begun[key] = value
                self._guarded(lambda key=key, value=value: self._set(client, key, value))
                self._guarded(lambda key=key: self._check(client, [key]))

    def _set(self, client: Any, key: str, value: int) -> None:
        client.set(key, value)
        self._acknowledged[key] = value
        self.writes += 1

    def _read(self, random: random.Random) -> None:
        client = self._connect()
        while not self._over.is_set():
            group = random.choice(self._groups)
            keys = group if random.random() < 0.2 else [random.choice(group)]
            self._guarded(lambda keys=keys: self._check(client, keys))

    def _check(self, client: Any, keys: Sequence[str]) -> None:
        least = [self._acknowledged[key] for key in keys]
        found = [client.get(keys[0])] if len(keys) == 1 else client.mget(keys)
        for key, value, floor in zip(keys, found, least, strict=True):
            if not floor <= int(value or 0) <= self._begun[key]:
                self.violations.append(f"{key}: {value}, acknowledged {floor}")
        self.reads += 1

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - what is an error is the test's to say
            self.errors.append(error)
