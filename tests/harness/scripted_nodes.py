"""Nodes of a cluster that say what a test wants: what real ones do rarely, or never on demand.

A node tells of the cluster by itself. What else it is asked is the test's to answer, and is kept.
No node knows tracking, so that nothing is served from an L1.
"""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator

from tests.harness.clusters import SLOTS
from tests.harness.resp import command_of, frame_end
from tests.harness.scripts import ROOT

_COMMANDS = ROOT / "crates" / "cachee-net" / "tests" / "data" / "command-valkey-8.1.8.resp"
_READ_BYTES = 1 << 16
_STEP_S = 0.01


class Farewell(bytes):
    """What a node says last: the end of the connection comes in the same segment."""


class Node:
    """One node; every connection has a thread of its own."""

    host = "127.0.0.1"

    def __init__(self) -> None:
        self._server = _Server((self.host, 0), _Conversation)
        self._server.node = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_STEP_S,))
        self._told: dict[bytes, bytes] = {}
        self.port = int(self._server.server_address[1])
        self.asked: list[list[bytes]] = []
        self.answer: Callable[[list[bytes]], bytes] = lambda words: b"+OK\r\n"

    def start(self, nodes: list["Node"]) -> None:
        self._told = {
            b"COMMAND": _COMMANDS.read_bytes(),
            b"CLUSTER SLOTS": _slots(nodes),
            b"PING": b"+PONG\r\n",
            b"ASKING": b"+OK\r\n",
        }
        self._thread.start()

    def close(self) -> None:
        """Waits for the other sides to end their connections."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def reply(self, words: list[bytes]) -> bytes:
        name = b" ".join(words).upper()
        if name in self._told:
            return self._told[name]
        if name.startswith((b"CLUSTER", b"HELLO", b"ACL", b"CLIENT")):
            return b"-ERR unknown command\r\n"
        self.asked.append(words)
        return self.answer(words)


def _slots(nodes: list[Node]) -> bytes:
    reply = [b"*%d\r\n" % len(nodes)]
    for number, node in enumerate(nodes):
        first, end = (SLOTS * n // len(nodes) for n in (number, number + 1))
        reply.append(b"*3\r\n:%d\r\n:%d\r\n*3\r\n" % (first, end - 1))
        reply.append(b"$9\r\n%s\r\n:%d\r\n$40\r\n%040d\r\n" % (b"127.0.0.1", node.port, number))
    return b"".join(reply)


class _Server(socketserver.ThreadingTCPServer):
    node: Node


class _Conversation(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        buffer = bytearray()
        with contextlib.suppress(ConnectionError):
            while received := self.request.recv(_READ_BYTES):
                buffer += received
                while buffer and (end := frame_end(buffer)) is not None:
                    reply = self.server.node.reply(command_of(bytes(buffer[:end])))
                    del buffer[:end]
                    if isinstance(reply, Farewell):
                        # Kept back until there is more, which the end is.
                        self.request.sendall(reply, socket.MSG_MORE)
                        return
                    self.request.sendall(reply)


@contextlib.contextmanager
def scripted_nodes(count: int) -> Iterator[list[Node]]:
    """So many nodes for one block, each with as many slots as the others."""
    nodes = [Node() for _ in range(count)]
    for node in nodes:
        node.start(nodes)
    try:
        yield nodes
    finally:
        for node in nodes:
            node.close()
