"""The server behind the client: foreign writes, and the counters that prove a hit."""

from __future__ import annotations

from typing import Any

from cachee._errors import CacheeError
from cachee._resp import Address, ErrorReply, connect, parse_url
from cachee._resp import Server as Connection

TIMEOUT_S = 10.0
# What clients send to set themselves up or to stay alive; everything else is work for a caller.
HOUSEKEEPING = frozenset(
    {
        *("acl", "auth", "client", "cluster", "command", "config", "debug", "echo", "hello"),
        *("info", "ping", "quit", "readonly", "role", "select", "subscribe", "unsubscribe"),
    }
)
# Settings a case may change, and what the run puts back.
CHANGEABLE = ("tracking-table-max-keys",)
USERS = ("kit-alice", "kit-bob")


class Server:
    """A plain connection of the kit's own, on which it is the truth and the foreign writer."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.address: Address = parse_url(url)
        if self.address.tls:
            raise CacheeError("the relay reads what passes, so the server must be without TLS")
        if self.address.database:
            raise CacheeError("the cases use the databases 0 and 1; name none")
        self._connection = self.connected()
        if b"cluster_enabled:1" in bytes(self.call("INFO", "cluster")):
            raise CacheeError(f"{self.address.shown} is of a cluster; the kit drives one server")

    def close(self) -> None:
        """Give the connection back."""
        self._connection.__exit__(None, None, None)

    def connected(self) -> Connection:
        """A further plain connection, logged in."""
        address = self.address
        try:
            connection = connect(address, TIMEOUT_S, binary=True)
        except OSError as error:
            raise CacheeError(f"{address.shown}: {error}") from error
        if address.password is not None:
            names = [address.username] if address.username else []
            _checked(connection.ask("AUTH", *names, address.password), "AUTH")
        return connection

    @property
    def endpoint(self) -> tuple[str, int] | str:
        """Where a relay connects to."""
        return self.address.path or (self.address.host or "localhost", self.address.port)

    def call(self, *words: object) -> Any:
        """One command; an error reply raises."""
        return _checked(self._connection.ask(*_encoded(words)), str(words[0]))

    def many(self, commands: list[tuple[object, ...]]) -> list[Any]:
        """Many commands in one go."""
        replies = self._connection.ask_many([_encoded(words) for words in commands])
        return [
            _checked(reply, str(words[0])) for reply, words in zip(replies, commands, strict=True)
        ]

    def knows(self, *words: object) -> bool:
        """Whether a command is answered with anything but an error."""
        return not isinstance(self._connection.ask(*_encoded(words)), ErrorReply)

    def work(self, *names: str) -> int:
        """How many commands were executed for callers, housekeeping left out, or only these."""
        total = 0
        for line in bytes(self.call("INFO", "commandstats")).decode().splitlines():
            name, colon, text = line.removeprefix("cmdstat_").partition(":")
            wanted = name in names if names else name.partition("|")[0] not in HOUSEKEEPING
            if colon and wanted:
                total += int(text.partition("calls=")[2].partition(",")[0])
        return total

    def trackers(self) -> int:
        """How many connections have tracking on."""
        return len([row for row in self._clients() if _tracks(row)])

    def listener_ports(self) -> set[int]:
        """The ports that connections come from which invalidations are sent to."""
        return {int(row["addr"].rpartition(":")[2] or 0) for row in self._listeners()}

    def kill_listeners(self, *then: object) -> int:
        """Close the connections that invalidations are sent to, and one more command in one go."""
        ids = [row["id"] for row in self._listeners()]
        self.many([*(("CLIENT", "KILL", "ID", each) for each in ids), then])
        return len(ids)

    def _listeners(self) -> list[dict[str, str]]:
        """Connections with tracking on, or those it is redirected to."""
        rows = self._clients()
        tracking = [row for row in rows if _tracks(row)]
        targets = {row["redir"] for row in tracking if int(row.get("redir", "-1")) > 0}
        return [row for row in rows if row["id"] in targets] if targets else tracking

    def _clients(self) -> list[dict[str, str]]:
        lines = bytes(self.call("CLIENT", "LIST")).decode().splitlines()
        pairs = [[word.partition("=") for word in line.split()] for line in lines]
        return [{name: value for name, _, value in words} for words in pairs]

    def keys(self) -> int:
        """How many keys there are, in all databases."""
        text = bytes(self.call("INFO", "keyspace")).decode()
        lines = [line for line in text.splitlines() if line.startswith("db")]
        return sum(int(line.partition("keys=")[2].partition(",")[0]) for line in lines)

    def settings(self) -> dict[str, str]:
        """The values of what a case may change."""
        found = {}
        for name in CHANGEABLE:
            _, value = self.call("CONFIG", "GET", name)
            found[name] = bytes(value).decode()
        return found

    def reset(self, settings: dict[str, str]) -> None:
        """Empty, as configured before, and without users of ours."""
        for name, value in settings.items():
            self.call("CONFIG", "SET", name, value)
        self.knows("DEBUG", "SET-ACTIVE-EXPIRE", "1")
        self.call("ACL", "DELUSER", *USERS)
        self.call("FLUSHALL")
        self.call("CONFIG", "RESETSTAT")


def _tracks(row: dict[str, str]) -> bool:
    return bool(set(row.get("flags", "")) & {"t", "B"})


def _encoded(words: tuple[object, ...]) -> list[bytes]:
    return [word if isinstance(word, bytes) else str(word).encode() for word in words]


def _checked(reply: Any, command: str) -> Any:
    if isinstance(reply, ErrorReply):
        raise CacheeError(f"the server answers {command} with: {reply}")
    return reply
