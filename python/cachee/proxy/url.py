"""Addresses of the proxy: where it listens, which server is behind it, where it can be asked.

One address is one text, in a file, in the environment or as a flag; each has one canonical form,
with the port always written, and a shown form without any password. An address is parsed by hand:
`urllib` drops tabs and line ends, takes a missing host for a path, and puts a password that holds a
`/` into its error message.

    listen     tcp://HOST:PORT   tls://HOST:PORT   unix:PATH
    upstream   redis://[USER:PASSWORD@]HOST[:PORT][/DB]            rediss://… over TLS
               unix://[USER:PASSWORD@]/PATH[?db=N]
               redis+cluster://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…]
               redis+sentinel://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…]/MASTER[/DB]
    admin      HOST:PORT, or PORT on the loopback

User, password, path and master name are percent-decoded: a `/` in a password is written %2F.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from cachee._errors import SettingsError

DEFAULT_PORT = 6379
DEFAULT_SENTINEL_PORT = 26379
LOOPBACK = "127.0.0.1"
DATABASE_MAX = 2**31 - 1
# sun_path holds 104 bytes on macOS and 108 on Linux, the closing zero included.
SOCKET_PATH_BYTES_MAX = 103

LISTEN_SYNTAX = "tcp://HOST:PORT, tls://HOST:PORT or unix:PATH"
UPSTREAM_SYNTAX = (
    "redis://[USER:PASSWORD@]HOST[:PORT][/DB], rediss://…, unix://[USER:PASSWORD@]/PATH[?db=N], "
    "redis+cluster://HOST[:PORT],… or redis+sentinel://HOST[:PORT],…/MASTER[/DB]"
)
ADMIN_SYNTAX = "HOST:PORT, or a PORT on the loopback"

__all__ = [
    "Admin",
    "Listener",
    "Upstream",
    "parse_admin",
    "parse_listen",
    "parse_upstream",
    "redact",
]

_ALIASES = {"valkey": "redis", "valkeys": "rediss"}
_SCHEMES = ("redis", "rediss", "unix", "redis+cluster", "redis+sentinel")
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?\]")


@dataclass(frozen=True)
class Listener:
    """One place where clients are listened for; `scheme` is tcp, tls or unix."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def url(self) -> str:
        """The canonical form, as in the ready line."""
        if self.scheme == "unix":
            return f"unix:{self.path}"
        return f"{self.scheme}://{_joined(self.host, self.port)}"

    @property
    def is_local(self) -> bool:
        """Whether only programs on this machine can reach it."""
        return self.scheme == "unix" or _is_loopback(self.host)


@dataclass(frozen=True)
class Admin:
    """Where the admin endpoint listens."""

    host: str
    port: int

    @property
    def address(self) -> str:
        """The canonical form: HOST:PORT."""
        return _joined(self.host, self.port)


@dataclass(frozen=True)
class Upstream:
    """The server, the sentinels or the nodes behind the proxy. `repr` shows no password."""

    scheme: str
    hosts: tuple[tuple[str, int], ...]
    path: str
    username: str | None
    password: str | None
    database: int
    master: str

    @property
    def url(self) -> str:
        """The canonical form with its password: for the native half only, never to be printed."""
        if self.password is None:
            return self._text("")
        secret = quote(self.password, safe="", errors="surrogateescape")
        return self._text(f"{self._user()}:{secret}@")

    @property
    def shown(self) -> str:
        """The canonical form as anyone may see it."""
        return self._text("" if self.password is None else f"{self._user()}:***@")

    def __repr__(self) -> str:
        return f"Upstream({self.shown!r})"

    def _user(self) -> str:
        return quote(self.username or "", safe="", errors="surrogateescape")

    def _text(self, credentials: str) -> str:
        if self.scheme == "unix":
            database = f"?db={self.database}" if self.database else ""
            path = quote(self.path, errors="surrogateescape")
            return f"unix://{credentials}{path}{database}"
        hosts = ",".join(_joined(host, port) for host, port in self.hosts)
        master = f"/{quote(self.master, safe='')}" if self.master else ""
        database = f"/{self.database}" if self.database else ""
        return f"{self.scheme}://{credentials}{hosts}{master}{database}"


def parse_listen(text: str) -> Listener:
    """A listener's address; SettingsError for anything else. Port 0: the system chooses.

    >>> parse_listen("tls://[::1]:6390").url
    'tls://[::1]:6390'
    """
    text = text.strip()
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        return Listener("unix", "", 0, _socket_path(path.removeprefix("//"), text))
    scheme, separator, rest = text.partition("://")
    if scheme not in ("tcp", "tls") or not separator:
        raise SettingsError("listen", redact(text), LISTEN_SYNTAX)
    try:
        host, port = _host_and_port(rest.removesuffix("/"), None)
    except ValueError as error:
        allowed = f"{scheme}://HOST:PORT ({error})"
        raise SettingsError("listen", redact(text), allowed) from None
    return Listener(scheme, host, port, "")


def parse_admin(text: str) -> Admin:
    """The admin endpoint's address; SettingsError for anything else.

    >>> parse_admin("9091").address
    '127.0.0.1:9091'
    """
    rest = text.strip().removeprefix("http://").removesuffix("/")
    if rest.isascii() and rest.isdigit():
        rest = f"{LOOPBACK}:{rest}"
    elif rest.startswith(":"):
        rest = LOOPBACK + rest
    try:
        return Admin(*_host_and_port(rest, None))
    except ValueError as error:
        raise SettingsError("admin", redact(text), f"{ADMIN_SYNTAX} ({error})") from None


def parse_upstream(text: str) -> Upstream:
    """The address of what is behind the proxy; SettingsError, without its password, for any other.

    >>> parse_upstream("valkey://app:s%2Fecret@cache.example.org/2").shown
    'redis://app:***@cache.example.org:6379/2'
    """
    text = text.strip()
    scheme, separator, rest = text.partition("://")
    scheme = _ALIASES.get(scheme, scheme)
    if scheme not in _SCHEMES or not separator:
        raise SettingsError("upstream", redact(text), UPSTREAM_SYNTAX)
    try:
        return _upstream(scheme, rest)
    except ValueError as error:
        allowed = f"{UPSTREAM_SYNTAX} ({error})"
        raise SettingsError("upstream", redact(text), allowed) from None


def redact(text: str) -> str:
    """An address, right or wrong, without what may be a password.

    >>> redact("redis://app:s/e@cret@host:6379"), redact("host?password=x")
    ('redis://app:***@host:6379', 'host?password=***')
    """
    text = re.sub(r"([?&]password=)[^&#]*", r"\1***", text)
    scheme, separator, rest = text.rpartition("://") if "://" not in text else text.partition("://")
    credentials, at, place = rest.rpartition("@")
    if not at:
        return text
    user, colon, _ = credentials.partition(":")
    hidden = f"{user}:***" if colon else ("***" if "/" in user else user)
    return f"{scheme}{separator}{hidden}@{place}"


def _upstream(scheme: str, rest: str) -> Upstream:
    if "#" in rest:
        raise ValueError("a # is written %23")
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    userinfo, at, hosts = authority.rpartition("@")
    username, password = _credentials(userinfo) if at else (None, None)
    if scheme == "unix":
        if hosts or not slash:
            raise ValueError("a path begins with /, as in unix:///run/valkey.sock")
        path = _socket_path(_decoded("/" + path), None)
        return Upstream(scheme, (), path, username, password, _query_database(query), "")
    if query:
        raise ValueError("nothing after a ?; TLS files are settings of their own")
    sentinel = scheme == "redis+sentinel"
    default_port = DEFAULT_SENTINEL_PORT if sentinel else DEFAULT_PORT
    parsed = tuple(_host_and_port(each, default_port) for each in hosts.split(","))
    if len(parsed) > 1 and scheme in ("redis", "rediss"):
        raise ValueError("one host; several are for redis+cluster:// and redis+sentinel://")
    if any(port == 0 for _, port in parsed):
        raise ValueError("a port is 1 to 65535")
    master, database = "", path
    if sentinel:
        master, _, database = path.partition("/")
        if not master:
            raise ValueError("the name of the primary after a /")
    elif scheme == "redis+cluster" and path:
        raise ValueError("a cluster has only database 0")
    return Upstream(scheme, parsed, "", username, password, _database(database), _decoded(master))


def _credentials(userinfo: str) -> tuple[str | None, str]:
    username, colon, password = userinfo.partition(":")
    if not colon:
        raise ValueError("USER:PASSWORD@, or :PASSWORD@ for the default user")
    return _decoded(username) or None, _decoded(password)


def _decoded(text: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise ValueError("a % is written %25")
    return unquote(text, errors="surrogateescape")


def _query_database(query: str) -> int:
    if not query:
        return 0
    name, _, value = query.partition("=")
    if name != "db" or not value:
        raise ValueError("nothing but db=N after a ?")
    return _database(value)


def _database(text: str) -> int:
    text = text.removesuffix("/")
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()) or int(text[:11]) > DATABASE_MAX:
        raise ValueError("a database is a number")
    return int(text)


def _host_and_port(text: str, default_port: int | None) -> tuple[str, int]:
    match = re.fullmatch(rf"({_HOST.pattern})(?::([0-9]{{1,5}}))?", text)
    if match is None or (match[2] is None and default_port is None):
        raise ValueError("a host and a port, such as 127.0.0.1:6380 or [::1]:6380")
    port = default_port if match[2] is None else int(match[2])
    if port is None or port > 65535:
        raise ValueError("a port is at most 65535")
    return match[1].strip("[]"), port


def _socket_path(path: str, listen: str | None) -> str:
    """The path of a Unix socket, absolute; an error that fits the setting when it cannot be one."""
    problem = None
    if not path or path.endswith("/"):
        problem = "a path, such as unix:/run/cachee.sock"
    elif re.search(r"[\s,\x00-\x1f]", path) and listen is not None:
        problem = "a path without spaces and commas"
    elif "\0" in path:
        problem = "a path without a zero byte"
    absolute = str(Path(path).absolute())
    if len(absolute.encode("utf-8", "surrogateescape")) > SOCKET_PATH_BYTES_MAX:
        problem = f"a path of at most {SOCKET_PATH_BYTES_MAX} bytes"
    if problem is None:
        return absolute
    if listen is None:
        raise ValueError(problem)
    raise SettingsError("listen", listen, f"{LISTEN_SYNTAX} ({problem})")


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host.lower() == "localhost"
