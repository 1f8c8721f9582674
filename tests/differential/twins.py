"""Two servers started the same way, and the connections that are compared."""

import contextlib
import socket
from collections.abc import Iterator

from tests.differential.compare import Difference, difference
from tests.differential.steps import Step, encode_words
from tests.harness.resp import frame_end
from tests.harness.servers import Server

Addresses = tuple[tuple[str, int], tuple[str, int]]
"""Of the direct connections, and of those through what is tested."""

ANSWER_S = 10.0
_END = b"the-end-of-the-step"
_PING = encode_words([b"PING", _END])
_ANSWER = b"$%d\r\n%s\r\n" % (len(_END), _END)
_SERVER = {"slowlog-log-slower-than": "-1", "commandlog-request-larger-than": "-1",
           "commandlog-reply-larger-than": "-1", "latency-monitor-threshold": "0",
           "busy-reply-threshold": "0", "databases": "8", "hz": "500"}  # fmt: skip


@contextlib.contextmanager
def twins() -> Iterator[tuple[Server, Server]]:
    """Two servers that differ in nothing but their ports."""
    options = dict(_SERVER)
    servers = Server(options=options), Server(options=options)
    try:
        for each in servers:
            each.start()
        yield servers
    finally:
        for each in servers:
            each.close()


class Peer:
    """One connection, read as a stream of bytes."""

    def __init__(self, address: tuple[str, int] | str, protocol: int):
        if isinstance(address, str):
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.connect(address)
        else:
            self._socket = socket.create_connection(address)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(ANSWER_S)
        self.buffer = b""
        self.ended = self.silent = False
        if protocol == 3:
            self.send([encode_words([b"HELLO", b"3"])])
            self.frames(1)

    def send(self, pieces: list[bytes]) -> None:
        """All of them, one call to the kernel each."""
        with contextlib.suppress(OSError):
            for piece in pieces:
                self._socket.sendall(piece)

    def _more(self) -> bool:
        if self.ended:
            return False
        try:
            data = self._socket.recv(1 << 20)
        except TimeoutError:
            self.silent = True
            return False
        except OSError:
            data = b""
        self.ended = not data
        self.buffer += data
        return bool(data)

    def frames(self, count: int) -> bytes:
        """Exactly so many replies, fewer if they do not come."""
        at = 0
        while count:
            end = frame_end(self.buffer, at) if at < len(self.buffer) else None
            if end is None:
                if not self._more():
                    return self._take(len(self.buffer))
                continue
            at, count = end, count - 1
        return self._take(at)

    def answered(self) -> bytes:
        """Everything up to the reply to `_PING`; a push behind it counts to the next step."""
        looked = 0
        while (found := self.buffer.find(_ANSWER, looked)) < 0:
            looked = max(len(self.buffer) - len(_ANSWER), 0)
            if not self._more():
                return self._take(len(self.buffer))
        return self._take(found + len(_ANSWER))

    def rest(self) -> bytes:
        """Everything up to the end of the stream."""
        while self._more():
            pass
        return self._take(len(self.buffer))

    def _take(self, size: int) -> bytes:
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken

    def close(self) -> None:
        self._socket.close()


class Pair:
    """The same connection twice: directly to one twin and through the proxy to the other."""

    def __init__(self, addresses: Addresses, protocol: int):
        self._addresses, self._protocol = addresses, protocol
        self.connect()

    def connect(self) -> None:
        self.direct, self.through = (Peer(each, self._protocol) for each in self._addresses)

    def run(self, step: Step) -> Difference | None:
        """Sends a step to both and compares."""
        payload = step.payload()
        if step.frames is None and not step.closes:
            payload += _PING
        pieces = step.pieces(payload)
        for peer in (self.direct, self.through):
            peer.send(pieces)
        if step.closes:
            found = difference(step.commands, self.direct.rest(), self.through.rest())
            found = found or self._both_ended(step)
            self.close()
            self.connect()
            return found
        if step.frames is not None:
            ours, theirs = self.direct.frames(step.frames), self.through.frames(step.frames)
        else:
            ours, theirs = self.direct.answered(), self.through.answered()
        assert not self.direct.silent, f"the server itself does not answer {step}"
        return difference(step.commands, ours, theirs)

    def _both_ended(self, step: Step) -> Difference | None:
        if self.direct.ended == self.through.ended:
            return None
        text = [b"closed" if each.ended else b"open" for each in (self.direct, self.through)]
        return Difference(step.commands[-1], text[0], text[1], "only one connection was closed")

    def close(self) -> None:
        self.direct.close()
        self.through.close()


def run_episode(
    addresses: Addresses, protocol: int, steps: Iterator[Step]
) -> tuple[Difference | None, list[Step]]:
    """Runs steps until one differs; also the steps that were run."""
    pairs: dict[int, Pair] = {}
    done: list[Step] = []
    try:
        for step in steps:
            done.append(step)
            if step.at not in pairs:
                pairs[step.at] = Pair(addresses, protocol)
            found = pairs[step.at].run(step)
            if found is not None:
                return found, done
        return None, done
    finally:
        for pair in pairs.values():
            pair.close()
