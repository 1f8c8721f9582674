"""A small client-side cache that is right, and one subclass for every mistake planted in it.

One RESP3 connection with tracking on; the thread that reads it applies replies and pushes in the
order they come. That is enough for the cases named in `test_kit.py`, and nothing more is meant.
"""

import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from cachee.conformance.clients.client import Client, Opening
from tests.harness.resp import ServerError, decode, encode, frame_end, is_push

SILENCE_S = 0.5


@dataclass
class Asked:
    """A command on its way, what to do with its reply in wire order, and who waits for it."""

    apply: Callable[[Any], None]
    done: threading.Event = field(default_factory=threading.Event)
    reply: Any = None


@dataclass
class Entry:
    value: Any
    deadline_s: float | None = None


class Right(Client):
    """No mistake."""

    distributions = ("cachee",)
    silence_bound_s = 1.0

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening)
        self.lock = threading.RLock()
        self.entries: dict[Any, Entry] = {}
        self.pending: dict[Any, Entry] = {}
        self.heard_s = 0.0
        self.socket: socket.socket | None = None
        self.asked: deque[Asked] = deque()

    # The connection.

    def connected(self) -> socket.socket:
        if self.socket is None:
            made = socket.create_connection((self.opening.host, self.opening.port), 5)
            made.settimeout(None)
            self.socket, self.asked = made, deque()
            threading.Thread(target=self.read_all, args=(made, self.asked), daemon=True).start()
            auth = ("AUTH", "default", self.opening.password) if self.opening.password else ()
            for words in (
                ("HELLO", 3, *auth),
                ("SELECT", self.opening.database),
                ("CLIENT", "TRACKING", "ON"),
            ):
                self.send(words)
        return self.socket

    def send(self, words: tuple, apply: Callable[[Any], None] = lambda _: None) -> Asked:
        with self.lock:
            connection, asked = self.connected(), Asked(apply)
            self.asked.append(asked)
            connection.sendall(encode(*words))
            return asked

    def ask(self, *words: Any) -> Any:
        return self.answer(self.send(words))

    def answer(self, asked: Asked) -> Any:
        if not asked.done.wait(self.opening.timeout_s):
            self.lose()
            raise TimeoutError("no reply")
        if isinstance(asked.reply, Exception):
            raise asked.reply
        return asked.reply

    def read_all(self, connection: socket.socket, asked: deque[Asked]) -> None:
        buffer = bytearray()
        try:
            while data := connection.recv(1 << 16):
                buffer += data
                while buffer and (end := frame_end(buffer)):
                    frame = bytes(buffer[:end])
                    del buffer[:end]
                    self.take(frame, asked)
        except OSError:
            pass
        self.lose(connection)

    def take(self, frame: bytes, asked: deque[Asked]) -> None:
        with self.lock:
            self.heard_s = time.monotonic()
            value, _ = decode(frame)
            if is_push(frame):
                self.invalidate(value[1])
                return
            first = asked.popleft()
            first.reply = value
            if not isinstance(value, ServerError):
                first.apply(value)
            first.done.set()

    def lose(self, connection: socket.socket | None = None) -> None:
        with self.lock:
            if self.socket is None or connection not in (None, self.socket):
                return
            self.socket.close()
            self.socket = None
            self.forget_lost()
            for asked in self.asked:
                asked.reply = ConnectionError("lost")
                asked.done.set()

    def forget_lost(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.entries.clear()
        self.pending.clear()

    def invalidate(self, keys: list[bytes] | None) -> None:
        if keys is None:
            self.forget()
            return
        for entries in (self.entries, self.pending):
            for name in [name for name in entries if name[1].encode() in keys]:
                del entries[name]

    # Reads.

    def cached(self, *words: Any) -> Any:
        if self.is_silent():
            self.ask("PING")
        with self.lock:
            entry = self.entries.get(words)
            if entry is not None and self.may_serve(entry):
                return self.copied(entry.value)
        return self.copied(self.fetch(words))

    def may_serve(self, entry: Entry) -> bool:
        ended = entry.deadline_s is not None and time.monotonic() >= entry.deadline_s
        return not ended and not self.is_silent()

    def is_silent(self) -> bool:
        return time.monotonic() > self.heard_s + SILENCE_S

    def copied(self, value: Any) -> Any:
        return list(value) if isinstance(value, list) else value

    def fetch(self, words: tuple) -> Any:
        sent_s = time.monotonic()
        with self.lock:
            value = self.send(words, lambda value: self.pending.__setitem__(words, Entry(value)))
            ttl = self.send(("PTTL", words[1]), lambda ms: self.store(words, ms, sent_s))
        self.answer(ttl)
        return self.answer(value)

    def store(self, name: tuple, ttl_ms: int, sent_s: float) -> None:
        entry = self.pending.pop(name, None)
        if entry is not None:
            entry.deadline_s = None if ttl_ms < 0 else sent_s + ttl_ms / 1000
            self.entries[name] = entry

    def get(self, key: str) -> bytes | None:
        return self.cached("GET", key)

    def lrange(self, key: str) -> Any:
        return self.cached("LRANGE", key, 0, -1)

    # Writes.

    def write(self, *words: Any) -> Any:
        self.forget_own()
        try:
            return self.ask(*words)
        finally:
            self.forget_own()

    def forget_own(self) -> None:
        with self.lock:
            self.forget()

    def set(self, key: str, value: bytes, ttl_ms: int | None = None) -> None:
        self.write("SET", key, value, *(() if ttl_ms is None else ("PX", ttl_ms)))

    def watch(self, key: str) -> "Watched":
        self.ask("WATCH", key)
        return Watched(self)

    def read_watched(self, key: str) -> bytes | None:
        return self.ask("GET", key)


class Watched:
    def __init__(self, client: Right):
        self._client = client

    def get(self, key: str) -> bytes | None:
        return self._client.read_watched(key)

    def close(self) -> None:
        self._client.ask("UNWATCH")


class NeverCaches(Right):
    def may_serve(self, entry: Entry) -> bool:
        return False


class NeverInvalidates(Right):
    def invalidate(self, keys: list[bytes] | None) -> None:
        pass


class IgnoresTheFlush(Right):
    def invalidate(self, keys: list[bytes] | None) -> None:
        super().invalidate(keys or [])


class StoresAfterTheReader(Right):
    """The caller's thread stores, when the reader may have applied later pushes already."""

    def fetch(self, words: tuple) -> Any:
        value = self.ask(*words)
        time.sleep(0.01)
        self.entries[words] = Entry(value)
        return value


class KeepsWhatWasLost(Right):
    def forget_lost(self) -> None:
        pass


class TrustsSilence(Right):
    def is_silent(self) -> bool:
        return False


class IgnoresExpiry(Right):
    def store(self, name: tuple, ttl_ms: int, sent_s: float) -> None:
        super().store(name, -1, sent_s)


class WaitsToBeTold(Right):
    def forget_own(self) -> None:
        pass


class SharesDatabases(Right):
    everything: ClassVar[dict[Any, Entry]] = {}

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening)
        self.entries = SharesDatabases.everything


class SharesObjects(Right):
    def copied(self, value: Any) -> Any:
        return value


class ServesUnderWatch(Right):
    def read_watched(self, key: str) -> bytes | None:
        return self.get(key)


class LosesTheSecondReader(Right):
    """Whoever finds a read of the key under way waits for a word that never comes."""

    def fetch(self, words: tuple) -> Any:
        with self.lock:
            first = words not in self.flights
            self.flights.add(words)
        if not first:
            threading.Event().wait()
        try:
            return super().fetch(words)
        finally:
            self.flights.discard(words)

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening)
        self.flights: set[tuple] = set()


class GivesRepliesToTheNext(Right):
    """A read that gives up leaves its reply to whoever reads next."""

    def answer(self, asked: Asked) -> Any:
        if not asked.done.wait(self.opening.timeout_s):
            with self.lock:
                self.asked.remove(asked)
            raise TimeoutError("no reply")
        return asked.reply
