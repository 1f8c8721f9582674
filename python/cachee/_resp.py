"""One blocking RESP connection for the commands: ask, and see what the server answered."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, BinaryIO
from urllib.parse import parse_qs, unquote, urlsplit

from cachee._errors import CacheeError

REPLY_BYTES_MAX = 64 * 1024**2
REPLY_DEPTH_MAX = 32
DEFAULT_PORT = 6379


class ServerError(CacheeError):
    """The server closed the connection or answered something that is not RESP."""


class ErrorReply(str):
    """An error the server answered, such as "NOPERM …"."""


@dataclass(frozen=True)
class Address:
    """Where a redis:// URL points to; `shown` is the URL without its password."""

    shown: str
    host: str | None
    port: int
    path: str | None
    tls: bool
    database: int
    username: str | None
    password: str | None
    verify: bool
    check_hostname: bool
    ca_file: str | None
    cert_file: str | None
    key_file: str | None


def parse_url(url: str) -> Address:
    """The address in a redis://, rediss:// or unix:// URL; CacheeError for any other.

    >>> parse_url("redis://:secret@example.org/2").shown
    'redis://:***@example.org/2'
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise CacheeError(f"not a URL: {error}") from None
    if parts.scheme not in ("redis", "rediss", "unix", "valkey", "valkeys"):
        raise CacheeError(f"{url!r} is not a URL of redis://, valkey://, rediss:// or unix://")
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    unix = parts.scheme == "unix"
    try:
        port = parts.port or DEFAULT_PORT
        name = query.get("db") or ("" if unix else parts.path.strip("/")) or "0"
        database = int(name)
    except ValueError:
        raise CacheeError(f"{_shown(url)!r}: port and database must be numbers") from None
    requirement = query.get("ssl_cert_reqs", "required")
    return Address(
        shown=_shown(url),
        host=None if unix else unquote(parts.hostname or "localhost"),
        port=port,
        path=unquote(parts.path) if unix else None,
        tls=parts.scheme in ("rediss", "valkeys"),
        database=database,
        username=unquote(parts.username) if parts.username else query.get("username"),
        password=unquote(parts.password) if parts.password else query.get("password"),
        verify=requirement != "none",
        check_hostname=query.get("ssl_check_hostname", "true").lower() not in ("0", "false", "no"),
        ca_file=query.get("ssl_ca_certs"),
        cert_file=query.get("ssl_certfile"),
        key_file=query.get("ssl_keyfile"),
    )


def _shown(url: str) -> str:
    parts = urlsplit(url)
    shown = url.replace(f":{parts.password}@", ":***@", 1) if parts.password else url
    for value in parse_qs(parts.query).get("password", []):
        shown = shown.replace(f"password={value}", "password=***")
    return shown


class Server:
    """A connection on which questions are asked in turn. Not for several threads.

    Bulk strings are text, or, with `binary`, the bytes they are.
    """

    def __init__(
        self, address: Address, connection: socket.socket, *, binary: bool = False
    ) -> None:
        self.address = address
        self._binary = binary
        self._connection = connection
        self._stream: BinaryIO = connection.makefile("rb")

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stream.close()
        self._connection.close()

    def ask(self, *words: str | bytes) -> Any:
        """The reply to one command; an error reply is an `ErrorReply`."""
        return self.ask_many([words])[0]

    def ask_many(self, commands: Iterable[Sequence[str | bytes]]) -> list[Any]:
        """The replies to many, sent at once: few enough that their replies fit the sockets."""
        parts = []
        count = 0
        for words in commands:
            count += 1
            parts.append(b"*%d\r\n" % len(words))
            for word in words:
                encoded = word if isinstance(word, bytes) else word.encode()
                parts.append(b"$%d\r\n%b\r\n" % (len(encoded), encoded))
        self._connection.sendall(b"".join(parts))
        return [self._reply(0) for _ in range(count)]

    def info(self, section: str) -> dict[str, str]:
        """The fields of an INFO section; empty when INFO is not allowed."""
        reply = self.ask("INFO", section)
        if isinstance(reply, ErrorReply) or not isinstance(reply, str):
            return {}
        pairs = (line.partition(":") for line in reply.splitlines() if not line.startswith("#"))
        return {name: value.strip() for name, colon, value in pairs if colon}

    def _reply(self, depth: int) -> Any:
        line = self._stream.readline(REPLY_BYTES_MAX)
        if not line.endswith(b"\r\n"):
            raise ServerError("connection closed by the server")
        kind, rest = line[:1], line[1:-2]
        if depth > REPLY_DEPTH_MAX:
            raise ServerError("a reply nested too deeply")
        try:
            return self._value(kind, rest, depth)
        except ValueError:
            raise ServerError(f"not a RESP reply: {line[:40]!r}") from None

    def _value(self, kind: bytes, rest: bytes, depth: int) -> Any:
        if kind == b"+":
            return rest.decode("utf-8", "replace")
        if kind == b"-":
            return ErrorReply(rest.decode("utf-8", "replace"))
        if kind in b":(":
            return int(rest)
        if kind == b",":
            return float(rest)
        if kind == b"#":
            return rest == b"t"
        if kind == b"_":
            return None
        if kind in b"$=!":
            text = self._bulk(int(rest))
            if text is None or kind == b"$":
                return text
            return ErrorReply(text) if kind == b"!" else text[4:]
        if kind in b"*~>":
            count = int(rest)
            items = None if count < 0 else [self._reply(depth + 1) for _ in range(count)]
            return self._reply(depth) if kind == b">" else items
        if kind == b"%":
            return {str(self._reply(depth + 1)): self._reply(depth + 1) for _ in range(int(rest))}
        raise ValueError(kind)

    def _bulk(self, length: int) -> Any:
        if length < 0:
            return None
        if length > REPLY_BYTES_MAX:
            raise ServerError(f"a reply of {length} bytes")
        content = self._stream.read(length + 2)
        if len(content) != length + 2:
            raise ServerError("connection closed by the server")
        return content[:-2] if self._binary else content[:-2].decode("utf-8", "replace")


def connect(address: Address, timeout_s: float, *, binary: bool = False) -> Server:
    """Open the connection, TLS included; OSError or ssl.SSLError when that fails."""
    if address.path is not None:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout_s)
        connection.connect(address.path)
        return Server(address, connection, binary=binary)
    connection = socket.create_connection((address.host, address.port), timeout_s)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if address.tls:
        context = ssl.create_default_context(cafile=address.ca_file)
        context.check_hostname = address.verify and address.check_hostname
        context.verify_mode = ssl.CERT_REQUIRED if address.verify else ssl.CERT_NONE
        if address.cert_file:
            context.load_cert_chain(address.cert_file, address.key_file)
        connection = context.wrap_socket(connection, server_hostname=address.host)
    return Server(address, connection, binary=binary)
