"""A relay between a link and its server that can put bytes of its own on the way to the link."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class Relay:
    """Listens on `port`; whoever connects talks to the server through it, byte for byte."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._clients: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def inject(self, pushed: bytes) -> None:
        """Send bytes to the latest client as if the server had; call it while nothing flows."""
        self._clients[-1].sendall(pushed)

    def close(self) -> None:
        """Stop listening and cut every connection."""
        for connection in (self._listener, *self._clients):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                for connection in (client, server):
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._clients.append(client)
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=_pump, args=(source, target), daemon=True).start()


@contextlib.contextmanager
def relaying(server_port: int) -> Iterator[Relay]:
    """A relay for as long as the block lasts."""
    relay = Relay(server_port)
    try:
        yield relay
    finally:
        relay.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while received := source.recv(1 << 18):
            target.sendall(received)
    for connection in (source, target):
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
