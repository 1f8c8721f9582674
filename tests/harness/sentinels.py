"""A primary, its replica, and three sentinels that watch them: all real, all local.

As in `clusters`, every operation returns when the processes themselves say that it has happened.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.harness.resp import ServerError
from tests.harness.servers import Server
from tests.harness.waiting import until

NAME = "main"
DOWN_AFTER_MS = 800
_FAILOVER_TIMEOUT_MS = 3000
_QUORUM = 2
_PATIENCE_S = 30.0


class Watched:
    """Two servers under one name, and the sentinels that say which of them is the primary."""

    name = NAME

    def __init__(self, sentinels: int = 3):
        options = {"repl-diskless-sync-delay": "0"}
        self.servers = [Server(options=options) for _ in range(2)]
        self.sentinels = [Server() for _ in range(sentinels)]

    def start(self) -> None:
        """Starts the servers, then the sentinels; waits until the sentinels know of each other."""
        first, second = self.servers
        first.start()
        second.start()
        second.call("REPLICAOF", first.host, first.port)
        until(lambda: _in_sync(second), "the replica is in sync", _PATIENCE_S)
        for sentinel in self.sentinels:
            sentinel.start_as_sentinel(_configuration(sentinel, first))
        self.settle()

    @property
    def url(self) -> str:
        """All sentinels, as `cachee proxy --upstream` takes them."""
        addresses = ",".join(f"{each.host}:{each.port}" for each in self.sentinels)
        return f"redis+sentinel://{addresses}/{NAME}"

    @property
    def primary(self) -> Server:
        """The server that most sentinels name."""
        named = self.named()
        return self._by_port(max(named, key=named.count))

    @property
    def replica(self) -> Server:
        """The other one."""
        return next(server for server in self.servers if server is not self.primary)

    def named(self) -> list[int]:
        """The port of the primary by each sentinel that knows one."""
        return [port for port in map(self.named_by, self._running) if port is not None]

    def named_by(self, sentinel: Server) -> int | None:
        """The port of the primary by one sentinel."""
        reply = sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
        return int(reply[1]) if isinstance(reply, list) else None

    def settle(self) -> None:
        """Waits until every sentinel knows all others, a replica, and the same primary."""
        for sentinel in self._running:
            until(
                lambda sentinel=sentinel: self._knows_everyone(sentinel),
                "the sentinels know each other",
                _PATIENCE_S,
            )

    def kill_primary(self) -> Server:
        """kill -9 of the primary; returns the server that is going to take over, at once."""
        primary, replica = self.primary, self.replica
        primary.kill()
        return replica

    def await_takeover(self, replica: Server) -> None:
        """Waits until it is the primary and every sentinel says so."""
        until(
            lambda: all(self.named_by(each) == replica.port for each in self._running),
            "the sentinels name another primary",
            _PATIENCE_S,
        )
        until(lambda: _role(replica) == b"master", "the replica takes over", _PATIENCE_S)

    def rejoin(self, server: Server) -> None:
        """A killed server comes back as a replica, by an operator who does not wait."""
        primary = self.primary
        server.start()
        server.call("REPLICAOF", primary.host, primary.port)
        until(lambda: _in_sync(server), "the replica is in sync", _PATIENCE_S)

    def fail_over(self) -> Server:
        """The orderly change of roles; returns the new primary."""
        replica = self.replica
        until(self._failover_accepted, "a sentinel begins the failover", _PATIENCE_S)
        self.await_takeover(replica)
        return replica

    def close(self) -> None:
        for process in (*self.sentinels, *self.servers):
            process.close()

    @property
    def _running(self) -> list[Server]:
        return [sentinel for sentinel in self.sentinels if sentinel.is_running]

    def _by_port(self, port: int) -> Server:
        return next(server for server in self.servers if server.port == port)

    def _failover_accepted(self) -> bool:
        try:
            self._running[0].call("SENTINEL", "FAILOVER", NAME)
        except ServerError:
            return False  # NOGOODSLAVE until the replica's first INFO, or INPROG
        return True

    def _knows_everyone(self, sentinel: Server) -> bool:
        state = sentinel.call("SENTINEL", "MASTER", NAME)
        assert isinstance(state, list)
        values = dict(zip(state[::2], state[1::2], strict=True))
        others = len(self.sentinels) - 1
        return (
            values[b"flags"] == b"master"
            and int(values[b"num-other-sentinels"]) == others
            and int(values[b"num-slaves"]) == 1
        )


def _configuration(sentinel: Server, primary: Server) -> Path:
    path = sentinel.directory / "sentinel.conf"
    path.write_text(
        f"port {sentinel.port}\n"
        "bind 127.0.0.1\n"
        f"dir {sentinel.directory}\n"
        f"sentinel monitor {NAME} {primary.host} {primary.port} {_QUORUM}\n"
        f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}\n"
        f"sentinel failover-timeout {NAME} {_FAILOVER_TIMEOUT_MS}\n"
    )
    return path


def _role(server: Server) -> object:
    """Nothing while it cannot be asked: a change of roles closes connections."""
    try:
        reply = server.call("ROLE")
    except ConnectionError:
        return None
    return reply[0] if isinstance(reply, list) else None


def _in_sync(server: Server) -> bool:
    try:
        text = server.call("INFO", "replication")
    except ConnectionError:
        return False
    return isinstance(text, bytes) and b"master_link_status:up" in text


@contextlib.contextmanager
def watched(sentinels: int = 3) -> Iterator[Watched]:
    """Primary, replica and sentinels for one block."""
    made = Watched(sentinels)
    try:
        made.start()
        yield made
    finally:
        made.close()
