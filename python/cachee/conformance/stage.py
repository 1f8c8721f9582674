"""What a case plays on: the client under test, the relay before it, the server behind it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from cachee.conformance.clients.client import Client, Opening
from cachee.conformance.frames import is_invalidation
from cachee.conformance.relay import Connection, Relay
from cachee.conformance.server import Server
from cachee.conformance.verdict import FailedError, HungError, NotApplicableError, VerdictError

T = TypeVar("T")

# Numbers, since one client stores nothing else in a form that foreigners can write.
OLD, NEW, NEWER = b"1000001", b"2000002", b"3000003"
_NAMES = {OLD: "the old value", NEW: "the new value", NEWER: "the newest value", None: "nothing"}

CALL_S = 5.0
WARM_S = 3.0
HEALTHY_BOUND_S = 1.0
PUSH_S = 1.0
APPLIED_S = 0.1
STEADY_READS = 50
STEP_S = 0.001


class Call:
    """A call in a thread of its own, so that the case can act while it waits."""

    def __init__(self, call: Callable[[], Any], what: str = "the call") -> None:
        self._call, self._what = call, what
        self._result: Any = None
        self.problem: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._call()
        except BaseException as problem:  # noqa: BLE001 - handed to the thread that asks
            self.problem = problem

    @property
    def done(self) -> bool:
        """Whether it came back, with a result or an error."""
        return not self._thread.is_alive()

    def wait(self, patience_s: float = CALL_S) -> bool:
        """Whether it comes back in that time."""
        self._thread.join(patience_s)
        return self.done

    def result(self, patience_s: float = CALL_S) -> Any:
        """What it returned; hung when it does not come back."""
        if not self.wait(patience_s):
            raise HungError(f"{self._what} did not come back in {patience_s:.0f} s")
        if self.problem is not None:
            raise self.problem
        return self._result


class Stage:
    """Opened by `child.py` for one case of one client."""

    def __init__(
        self, adapter: type[Client], server: Server, relay: Relay, note: Callable[[str], None]
    ) -> None:
        self.adapter, self.server, self.relay = adapter, server, relay
        self._tell = note
        self._clients: list[Client] = []
        self.at = "its start"

    def note(self, where: str) -> None:
        """Where the case stands, for the evidence of one that hangs."""
        self.at = where
        self._tell(where)

    def open(self, **options: Any) -> Client:
        """A further client through the relay."""
        given: dict[str, Any] = {
            "host": self.relay.host,
            "port": self.relay.port,
            "username": self.server.address.username,
            "password": self.server.address.password,
            **options,
        }
        self.note("opening a client")
        call = Call(lambda: self.adapter(Opening(**given)), "opening a client")
        client: Client = call.result(CALL_S * 2)
        self._clients.append(client)
        return client

    def close(self) -> None:
        """Closes the clients; one that cannot be closed is left to the end of the process."""
        self.relay.flow()
        for client in self._clients:
            Call(client.close, "closing a client").wait(1.0)

    # The foreign writer.

    def put(self, client: Client, key: str, value: bytes, *more: object) -> None:
        """SET by somebody else."""
        self.server.call("SET", client.server_key(key), value, *more)

    # The proof of a hit.

    def read(self, read: Callable[[], T]) -> tuple[T, bool]:
        """What a read gives, and whether it was answered while the server did no work."""
        before = self.server.work()
        value: T = Call(read, "a read").result()
        return value, self.server.work() == before

    def warm(self, read: Callable[[], T], what: str = "GET") -> T:
        """Reads until one read was answered locally; not applicable when none is."""
        self.note(f"proving that {what} is answered locally")
        deadline = time.monotonic() + WARM_S
        reads = 0
        while True:
            value, local = self.read(read)
            reads += 1
            if local:
                return value
            if time.monotonic() > deadline:
                raise NotApplicableError(
                    f"no cache: each of {reads} times {what} was answered by the server"
                )
            time.sleep(STEP_S)

    def warm_value(self, client: Client, key: str, value: bytes) -> None:
        """A foreign SET, then a proven hit that has this value."""
        self.put(client, key, value)
        found = self.warm(lambda: client.get(key))
        if found != value:
            raise FailedError(f"a hit says {shown(found)}, set was {shown(value)}")

    # What must be so afterwards.

    def settles(
        self,
        read: Callable[[], Any],
        new: Any,
        *,
        within_s: float = HEALTHY_BOUND_S,
        also: tuple[Any, ...] = (OLD,),
        lost: bool = False,
    ) -> str:
        """The new value is read within the bound and nothing else ever after; says how soon.

        Where the connection is lost a client may say so: errors then are reads that gave nothing.
        """
        changed = time.monotonic()
        self.note(f"waiting for {shown(new)} to be read")
        errors = 0
        while True:
            began = time.monotonic()
            value, error = self.attempt(read, within_s)
            if error is None and value == new:
                break
            if error is not None and not lost:
                raise of_error(error, "a read with all connections up")
            if error is None and value not in also:
                raise FailedError(f"read {shown(value)}, which nobody set")
            errors += error is not None
            if began > changed + within_s:
                raise FailedError(self._still(read, value, error, new, began - changed))
            time.sleep(STEP_S)
        soon_ms = (time.monotonic() - changed) * 1000
        for _ in range(STEADY_READS):
            value, error = self.attempt(read, within_s)
            if error is not None and not lost:
                raise of_error(error, "a read with all connections up")
            if error is None and value != new:
                raise FailedError(f"{shown(value)} is read again after {shown(new)}")
        told = f", {errors} reads gave errors" if errors else ""
        return f"{shown(new)} read {soon_ms:.0f} ms after the change{told}"

    def attempt(
        self, read: Callable[[], Any], patience_s: float = CALL_S
    ) -> tuple[Any, Exception | None]:
        """What a read gives, or the error it ends with; one that does not end has hung."""
        try:
            return Call(read, "a read").result(max(CALL_S, patience_s)), None
        except VerdictError:
            raise
        except Exception as error:  # noqa: BLE001 - of the client, and part of what it answers
            return None, error

    def _still(
        self, read: Callable[[], Any], value: Any, error: Exception | None, new: Any, after_s: float
    ) -> str:
        if error is not None:
            return f"{after_s:.1f} s after the change only {shown_error(error)}"
        again, local = self.read(read)
        where = "from the cache" if local else "by the client"
        if again != value:
            return f"{shown(value)} still read {after_s:.1f} s after the change"
        return f"{shown(value)} still answered {where} {after_s:.1f} s after it became {shown(new)}"

    def must_be(self, read: Callable[[], Any], value: Any, when: str) -> None:
        """One read, now."""
        found, local = self.read(read)
        if found != value:
            where = "from the cache" if local else "by the server"
            raise FailedError(f"{when}: read {shown(found)} {where}, not {shown(value)}")

    # What the relay is used for.

    def links(self) -> list[Connection]:
        """The connections that invalidations come on, of which there must be one."""
        ports = self.server.listener_ports()
        found = [each for each in self.relay.connections if each.server_port in ports]
        found = found or self.relay.links()
        if not found:
            raise NotApplicableError("no connection of the client receives invalidations")
        return found

    def held_read(self, read: Callable[[], Any], marker: bytes) -> tuple[Call, Connection]:
        """A read whose reply, which has the marker, waits in the relay."""
        self.relay.trap(lambda frame: marker in frame)
        call = Call(read, "the read")
        deadline = time.monotonic() + CALL_S
        while True:
            holding = self.relay.holding(lambda frame: marker in frame)
            if holding:
                return call, holding[0]
            if call.done or time.monotonic() > deadline:
                raise NotApplicableError("the read was not answered through the relay")
            time.sleep(STEP_S)

    def first(self, condition: Callable[[], T], what: str, patience_s: float = CALL_S) -> T:
        """Waits for a condition of the forced order; not applicable where it never comes."""
        deadline = time.monotonic() + patience_s
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > deadline:
                raise NotApplicableError(f"never came: {what}")
            time.sleep(STEP_S)

    def within(self, condition: Callable[[], bool], bound_s: float) -> float | None:
        """When the call began that made the condition true, in seconds from now; None if late."""
        start = began = time.monotonic()
        while began < start + bound_s:
            if Call(condition, "a read").result(CALL_S + bound_s):
                return began - start
            time.sleep(STEP_S)
            began = time.monotonic()
        return None

    def await_push(self, before: int) -> bool:
        """Whether a further invalidation has come to the relay, in the time it may take."""
        deadline = time.monotonic() + PUSH_S
        while self.relay.invalidations == before and time.monotonic() < deadline:
            time.sleep(STEP_S)
        # On a connection of its own it is not held: the client applies it before the rest goes.
        self.pause(APPLIED_S, "the invalidation is applied where nothing holds it")
        return self.relay.invalidations > before

    def late_pushes(self, seconds: float) -> None:
        """Invalidations come that much later than the replies before them."""
        self.relay.late(is_invalidation, seconds)

    def pause(self, seconds: float, why: str) -> None:
        """Time passes that no event ends."""
        self.note(why)
        time.sleep(seconds)


def shown(value: Any) -> str:
    """A value in a few words."""
    if value is None or isinstance(value, bytes):
        known = _NAMES.get(value)
        if known is not None:
            return known
    if isinstance(value, list):
        return "[" + ", ".join(shown(each) for each in value[:4]) + ", …" * (len(value) > 4) + "]"
    text = repr(value)
    return text if len(text) <= 48 else f"{text[:40]}… ({len(text)} characters)"


def of_error(error: BaseException, what: str) -> VerdictError:
    """What an error means for what raised it: a call that only its timeout ends has hung."""
    told = f"{what} ended with {shown_error(error)}"
    return HungError(told) if "Timeout" in type(error).__name__ else FailedError(told)


def shown_error(error: BaseException) -> str:
    """An error in a few words."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:120]}" if text else type(error).__name__
