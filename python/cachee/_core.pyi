"""The native half of cachee: the L1, the coherent link and the hooks of the drop-in.

Private: the names here may change in any release. Every call needs the GIL and is safe from any
thread; what may wait (`Binding.read`, `Binding.read_many`, `Link.wait_settled`) releases the GIL.
"""

from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, Final, final

from typing_extensions import disjoint_base

__all__ = [
    "HOT_METHODS",
    "MISS",
    "PENDING",
    "Admission",
    "Binding",
    "Cache",
    "Completions",
    "Engine",
    "Link",
    "Proxy",
    "Trace",
    "__version__",
    "adopt_methods",
    "enroll",
    "enrolled",
    "generate_load",
    "install_method",
    "ready",
    "relay_bytes",
    "withdraw",
    "withdraw_all",
]

__version__: Final[str]

MISS: Final[object]
"""Answer of a read that cachee does not give: ask through the client's own connection."""

PENDING: Final[object]
"""Answer of a submitted read: the result will come out of `Completions.drain`."""

HOT_METHODS: Final[frozenset[str]]
"""Names `install_method` knows: exists, get, hexists, hget, hgetall, hmget, mget, sismember,
smembers. A hit of one returns what the client's method returns with its default response
callbacks; a client whose callbacks differ is enrolled without that name."""

@final
class Admission:
    """Which keys may be cached: `include`, `exclude` and (prefix, is_on) of `overrides`, as bytes.

    Globs are the server's own, as in KEYS; a prefix decides alone, the longest first.
    """

    def __new__(
        cls,
        include: Sequence[bytes],
        exclude: Sequence[bytes],
        overrides: Sequence[tuple[bytes, bool]],
    ) -> Admission: ...
    def __call__(self, key: bytes) -> bool:
        """Whether this key may be cached."""

@final
class Engine:
    """The L1 of one process and the links that fill it.

    After a fork the child's engine is empty and has no links (also without
    `after_fork_in_child`, which frees nothing of the parent's and only makes it certain).
    """

    def __new__(
        cls,
        *,
        max_memory: int,
        max_age_ms: int,
        max_staleness_ms: int,
        tracking: str = "default",
        prefixes: Sequence[bytes] | None = None,
        learn_ttl: bool = False,
        reply_timeout_ms: int = 500,
        connect_timeout_ms: int = 1000,
        max_value_bytes: int | None = None,
        shards: int | None = None,
        prefetch: str = "off",
        prefetch_reads: int = 1,
        admission: Admission | None = None,
        record: PathLike[str] | str | None = None,
        record_sample: int = 1,
        record_keys: str = "hashed",
    ) -> Engine:
        """`tracking` is default, opt-in or broadcast (then with `prefixes`).

        `prefetch` is on, observe or off; `admission` says which keys may be loaded ahead.
        `record` names the file of what is asked for; `record_keys` is hashed or plain.
        """

    def link(
        self,
        *,
        host: str | None,
        port: int,
        path: str | None,
        db: int,
        username: str | None,
        password: str | bytes | None,
        credentials: Callable[[], tuple[str | None, str | bytes | None]] | None,
        tls: Mapping[str, object] | None,
        client_name: str,
    ) -> Link:
        """The link of that server, database and user: opened once, then the same object.

        Returns at once; the link connects in its own thread. `path` (Unix socket) excludes
        `host`. `credentials` is called on that thread at each connect. Keys of `tls`: verify
        ("full", "no-hostname", "none"), server_name, ca_file, ca_data, cert_file, key_file.
        """

    def hot_keys(self, count: int) -> list[tuple[str, int, list[bytes]]]:
        """Owner, database and words of the reads that were answered most, at most `count`.

        The owner says which user of which server, and how the replies are decoded.
        """

    def warm(self, names: list[tuple[str, int, list[bytes]]], admission: Admission) -> None:
        """Load these in the background at a bounded rate, as soon as their link is there."""

    def begin_write(
        self,
        commands: Sequence[tuple[object, ...]],
        encoding: str = "utf-8",
        errors: str = "strict",
    ) -> int:
        """Called before the commands leave by the application's connection.

        Drops what they may change and keeps it from being stored until `end_write` of the
        returned ticket. 0 when nothing is to be done (all read-only, or no link yet): `end_write`
        of 0 does nothing.
        """

    def end_write(self, ticket: int) -> None:
        """Called after the reply, the error or the timeout of what `begin_write` announced."""

    def invalidate(self, key: bytes | str) -> int:
        """Drop every entry of one key, in every database; how many there were."""

    def stats(self) -> dict[str, int]:
        """Counters and gauges of the L1, summed over its shards."""

    def links(self) -> list[Link]:
        """The open links, oldest first."""

    def inspect(self, key: bytes | str) -> list[dict[str, object]]:
        """One dict an entry, lease or bypass of the key: why it is or is not served."""

    def clear(self) -> None:
        """Drop every entry."""

    def close(self) -> None:
        """Close every link and drop every entry; every later read is a MISS. Idempotent."""

    def after_fork_in_child(self) -> None:
        """Forget the parent's entries and links without touching a lock or the sockets' peers."""

@final
class Link:
    """One coherent connection to a server, shared by every client of the same identity."""

    def status(self) -> tuple[str, str]:
        """(connecting | ready | down | unsupported | closed, a text that says why)."""

    def wait_settled(self, timeout_s: float) -> tuple[str, str]:
        """Wait until the status is no longer connecting, without the GIL."""

    def info(self) -> dict[str, object]:
        """Server, version, scope, whether hits are served now, and for how long still (ms)."""

    def prefetch_doubts(self) -> dict[str, str]:
        """Why predictors send nothing at present, by name; those that do are left out."""

    def prefetch(self) -> dict[str, int]:
        """What was loaded ahead: counters and gauges; empty where nothing is."""

    def rules(self, count: int) -> list[dict[str, object]]:
        """The rules of most use, at most `count`, those that are acted on first."""

    def barrier(self) -> None:
        """Stop hits until the server has answered something sent after this call."""

@final
class Binding:
    """How one client sees a link: its commands in, replies as its own parser would give them.

    Commands are tuples as given to `execute_command`, arguments bytes, str, int or float.
    MGET, HMGET and multi-key EXISTS are answered key by key, so a partial hit asks only the rest.
    """

    def __new__(
        cls,
        engine: Engine,
        link: Link,
        *,
        decode: bool,
        encoding: str,
        errors: str,
        resp2: bool,
    ) -> Binding: ...
    def cacheable(self, args: tuple[object, ...]) -> bool:
        """Whether a reply to this command could be kept at all."""

    def peek(self, args: tuple[object, ...]) -> object:
        """The reply if the L1 may serve it now, else MISS. Never waits."""

    def record(self, args: tuple[object, ...]) -> None:
        """Take down a read that no other method here is asked for after `peek` gave MISS."""

    def read(self, args: tuple[object, ...]) -> object:
        """The reply from the L1 or the server, or MISS. Waits without the GIL; signals are seen."""

    def read_many(self, commands: Sequence[tuple[object, ...]]) -> list[object]:
        """`read` of each command, with one round trip for all that is missing."""

    def submit(self, args: tuple[object, ...], completions: Completions, ticket: int) -> object:
        """The reply, MISS, or PENDING: then `completions` gives (ticket, reply or MISS) later."""

    def submit_many(
        self, commands: Sequence[tuple[object, ...]], completions: Completions, ticket: int
    ) -> object:
        """A list as from `read_many`, or PENDING: then `completions` gives (ticket, list)."""

    def bypasses(self) -> dict[str, int]:
        """How many MISSes each reason caused."""

@final
class Completions:
    """Finished reads of one event loop; the link's thread makes `fileno` readable."""

    def __new__(cls) -> Completions: ...
    def fileno(self) -> int: ...
    def drain(self) -> list[tuple[int, object]]:
        """(ticket, result) of everything finished since the last call. Never waits."""

    def close(self) -> None:
        """Close the descriptor; what finishes later is dropped. Idempotent."""

@final
class Proxy:
    """A RESP server on addresses of its own that answers from an L1 what it provably may.

    Its threads are its own and never hold the GIL.
    """

    def __new__(
        cls,
        *,
        listen: list[tuple[str, str, int, str]],
        upstream: dict[str, object],
        settings: dict[str, object],
    ) -> Proxy:
        """Binds and serves at once. ValueError: a wrong address or setting; OSError: cannot bind.

        A listener is scheme, host, port and path, `upstream` the fields of
        `cachee.proxy.url.Upstream` with the password in bytes; `settings` are those of
        `cachee.proxy.server.native_settings`.
        """

    @property
    def addresses(self) -> list[str]:
        """The listeners as given, with their real ports."""

    def reload(self, settings: dict[str, object]) -> None:
        """Take over other limits, from `max_clients` on; connected clients stay."""

    def drain(self, timeout_s: float) -> bool:
        """Accept nobody, let replies in flight out; whether every client was gone in time.

        Waits without the GIL.
        """

    def close(self) -> None:
        """Close every connection and end the threads. Idempotent."""

    def is_ready(self) -> bool:
        """Whether the upstream answers. Never waits."""

    def hot_keys(self, count: int) -> list[tuple[str, int, list[bytes]]]:
        """User, database and words of the reads that were answered most, at most `count`."""

    def warm(self, names: list[tuple[str, int, list[bytes]]]) -> None:
        """Read these from the upstream, in the background at a bounded rate.

        Names of users without a connection wait for them to log in.
        """

    def stats(self) -> dict[str, object]:
        """Numbers by name, and "links": one dict a connection of the proxy's own.

        RuntimeError once it is closed.
        """

def install_method(
    cls: type, name: str, original: Callable[..., object], *, asynchronous: bool
) -> object:
    """Put a native method in `cls` that answers hits of enrolled clients; returns the descriptor.

    Anything else (a miss, a client that is not enrolled, other arguments) calls `original`. An
    asynchronous one returns `ready(value)`. To undo it, set the class attribute back.
    """

def adopt_methods(cls: type[Cache]) -> None:
    """Give a subclass of Cache native methods of its own, which are called faster."""

def enroll(client: object, binding: Binding | None, hot: frozenset[str]) -> None:
    """From now on the methods named in `hot` answer for this client. The client is not kept alive.

    With None, or a name not in `hot`, the method goes straight to its original.
    """

def withdraw(client: object) -> None:
    """Undo `enroll`; nothing happens when the client is not enrolled."""

def withdraw_all() -> None:
    """Undo every `enroll`."""

def enrolled(client: object) -> Binding | None:
    """The binding the client is enrolled with."""

def ready(value: object) -> Awaitable[Any]:
    """An awaitable that gives `value` without suspending; awaiting it twice is a RuntimeError."""

@final
class Trace:
    """The keys of a recorded trace, to be played through caches of any size.

    `data` is one little-endian 8-byte code a request, as it is or compressed with zstd; ValueError
    for anything else. Every method releases the GIL.
    """

    ENTRY_OVERHEAD_BYTES: Final[int]
    """What an entry takes beside its value."""

    @property
    def keys(self) -> int:
        """How many different ones."""

    def __new__(cls, data: bytes) -> Trace: ...
    def __len__(self) -> int: ...
    def lru_hits(self, entries: int) -> int:
        """Hits of a cache of so many entries that drops what was not asked for longest."""

    def belady_hits(self, entries: int) -> int:
        """Hits of a cache of so many entries that knows what comes: the most without prediction."""

    def sample(self, one_in: int) -> Trace:
        """The requests of one key in so many, chosen by hash."""

    def simulate(
        self,
        *,
        capacity_bytes: int,
        value_bytes: int,
        prediction: bool,
        round_trip_us: int,
        think_us: int,
        clients: int = 1,
    ) -> dict[str, int]:
        """What cachee's own L1 makes of it, `clients` each asking for their part at the same time.

        Returns requests, hits, joined (loaded ahead and still on its way), misses, issued (loaded
        ahead), used (of those, asked for), prediction_bytes (of the capacity, at the end),
        waited_us, events (told to the prediction) and lost (0 here).
        """

    def compare(
        self,
        *,
        capacity_bytes: int,
        value_bytes: int,
        round_trip_us: int,
        think_us: int,
        clients: int = 1,
    ) -> tuple[dict[str, int], dict[str, int]]:
        """The same without and with prediction; `lost` of the latter are its misses of what the
        former had."""

def generate_load(
    address: str,
    *,
    operation: str = "get",
    threads: int = 1,
    connections: int = 50,
    pipeline: int = 1,
    seconds: float = 1.0,
    rate_per_s: float | None = None,
    keys: int = 10_000,
    value_bytes: int = 100,
    read_share: float = 0.9,
    mget_keys: int = 100,
    zipf: float | None = None,
    seed: int = 1,
    prefix: str = "bench:",
    password: str | None = None,
) -> dict[str, float]:
    """Ask the RESP server at `tcp://HOST:PORT` or `unix:PATH` for `seconds`; releases the GIL.

    `operation` is get, missing (GET of keys that do not exist, none twice in runs of different
    seeds), set, mixed or mget. Without `rate_per_s` it is the closed loop: each connection sends
    its next `pipeline` commands when those before are answered. With it, commands are sent at that
    rate whatever comes back, and latency counts from when they were due. Key number n is `prefix`
    and n in ten digits. Returns operations, seconds, errors, nils, unanswered, bytes_sent,
    bytes_received, cpu_seconds of its own and latency_us_p50, _p90, _p99, _p999 and _max.
    """

def relay_bytes(
    listen: str, upstream: str, *, delay_ms: float = 0.0, ready: Callable[[str], object]
) -> None:
    """Pass bytes on, unread, one upstream connection a client, `delay_ms` late in each direction.

    Calls `ready` with the address once it listens; returns never, except by a signal's exception.
    """

@disjoint_base
class Cache:
    """The store of `cachee.Cache`; see there."""

    def __new__(
        cls,
        max_memory: int,
        *,
        ttl: float | None = None,
        sizer: Callable[[Any, Any], int] | None = None,
    ) -> Cache:
        """`max_memory` in bytes, `ttl` in seconds."""

    def get(self, key: Hashable, /, default: Any = None) -> Any: ...
    def set(
        self, key: Hashable, value: Any, ttl: float | None = None, tags: Iterable[str] = ()
    ) -> bool: ...
    def delete(self, key: Hashable, /) -> bool: ...
    def get_many(self, keys: Iterable[Hashable], default: Any = None, /) -> list[Any]: ...
    def set_many(
        self,
        items: Mapping[Any, Any] | Iterable[tuple[Any, Any]],
        ttl: float | None = None,
        tags: Iterable[str] = (),
    ) -> int: ...
    def invalidate_tag(self, tag: str, /) -> int: ...
    def clear(self) -> None: ...
    def keys(self) -> list[Any]: ...
    def __getitem__(self, key: Hashable, /) -> Any: ...
    def __setitem__(self, key: Hashable, value: Any, /) -> None: ...
    def __delitem__(self, key: Hashable, /) -> None: ...
    def __contains__(self, key: object, /) -> bool: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...
    def _counters(self) -> dict[str, int]: ...
    def _begin_load(self, key: Hashable, tags: Iterable[str], /) -> int: ...
    def _finish_load(self, token: int, value: Any, ttl: float | None, /) -> bool: ...
    def _abandon_load(self, token: int, /) -> None: ...
    def _advance_clock(self, seconds: float, /) -> None: ...
