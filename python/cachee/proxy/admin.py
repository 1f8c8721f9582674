"""The admin endpoint: /metrics, /healthz, /readyz and /stats over HTTP, for machines that ask.

It shares nothing with the data path but the snapshot. It is not for the open network and speaks no
TLS: it listens on the loopback unless told otherwise. So that nobody can make it a burden, one
request is answered a connection, a connection lives for `REQUEST_TIMEOUT_S` at most, and there are
`CONNECTIONS_MAX` at a time; the next one is told 503 at once.
"""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import socketserver
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Protocol

from cachee._errors import CacheeError
from cachee._snapshot import ProxySnapshot
from cachee.proxy import metrics
from cachee.proxy.url import Admin

CONNECTIONS_MAX = 16
REQUEST_TIMEOUT_S = 5.0
EXHAUSTED_PAUSE_S = 0.05

BUSY = (
    b"HTTP/1.0 503 Service Unavailable\r\nConnection: close\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 21\r\n\r\ntoo many connections\n"
)

__all__ = ["AdminEndpoint", "Subject"]


class Subject(Protocol):
    """Of whom the endpoint tells."""

    def snapshot(self) -> ProxySnapshot:
        """What has been counted so far."""


class AdminEndpoint:
    """An HTTP server in threads of its own, for as long as a `with` block lasts."""

    def __init__(self, address: Admin, subject: Subject) -> None:
        """Binds at once; CacheeError when that cannot be done."""
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        try:
            self._server = _Server(address, subject, family)
        except OSError as error:
            reason = error.strerror or str(error)
            raise CacheeError(f"cannot listen on admin {address.address}: {reason}") from None
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="cachee-admin", daemon=True
        )

    @property
    def url(self) -> str:
        """Where it answers, with its real port."""
        host, port = self._server.server_address[:2]
        name = str(host)
        return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"

    def __enter__(self) -> AdminEndpoint:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = CONNECTIONS_MAX

    def __init__(self, address: Admin, subject: Subject, family: int) -> None:
        self.address_family = family
        self.subject = subject
        self._places = threading.BoundedSemaphore(CONNECTIONS_MAX)
        super().__init__((address.host, address.port), _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own asks the name server for the host's full name, which may take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def get_request(self) -> Any:
        try:
            return super().get_request()
        except OSError as error:
            # Who waits to be accepted stays readable: this loop would do nothing else.
            if error.errno in (errno.EMFILE, errno.ENFILE):
                time.sleep(EXHAUSTED_PAUSE_S)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            with contextlib.suppress(OSError):
                request.setblocking(False)
                request.send(BUSY)
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        # A socket's timeout counts from the last byte; this one counts from the first.
        deadline = threading.Timer(REQUEST_TIMEOUT_S, _cut, [request])
        deadline.daemon = True
        deadline.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            deadline.cancel()
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is not worth a traceback."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_TIMEOUT_S
    server_version = "cachee"
    sys_version = ""

    def do_GET(self) -> None:  # the name is http.server's
        """Answer; a HEAD request gets the same without the body."""
        path = self.path.partition("?")[0]
        if path == "/healthz":
            self._answer(HTTPStatus.OK, "ok\n")
        elif path == "/readyz":
            self._answer_ready()
        elif path == "/metrics":
            content = metrics.render(self.server.subject.snapshot().as_dict())
            self._answer(HTTPStatus.OK, content, metrics.CONTENT_TYPE)
        elif path == "/stats":
            content = json.dumps(self.server.subject.snapshot().as_dict(), default=str) + "\n"
            self._answer(HTTPStatus.OK, content, "application/json")
        else:
            self._answer(HTTPStatus.NOT_FOUND, "/metrics, /healthz, /readyz and /stats\n")

    do_HEAD = do_GET  # noqa: N815  # the name is http.server's

    def _answer_ready(self) -> None:
        snapshot = self.server.subject.snapshot()
        if snapshot.draining:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "draining\n")
        elif not snapshot.ready:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, f"no upstream: {snapshot.problem}\n")
        else:
            self._answer(HTTPStatus.OK, "ready\n")

    def _answer(self, status: int, content: str, kind: str = "text/plain; charset=utf-8") -> None:
        body = content.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """As plain text; a method without an answer of its own is not allowed, not unknown."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self._answer(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD\n")
        else:
            self._answer(code, f"{message or explain or HTTPStatus(code).phrase}\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's name
        """Requests are not logged."""


def _cut(request: socket.socket) -> None:
    with contextlib.suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)
