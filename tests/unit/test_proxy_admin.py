"""The admin endpoint over real HTTP on the loopback, in front of a stand-in."""

import http.client
import json
import re
import socket
from dataclasses import asdict

import pytest

from cachee import CacheeError, _core
from cachee._snapshot import ProxySnapshot
from cachee.proxy import admin, metrics
from cachee.proxy.url import Admin, parse_upstream
from tests.harness.waiting import until

SNAPSHOT = ProxySnapshot(
    mode="on",
    pid=7,
    version="1.2.3",
    uptime_s=1.5,
    ready=True,
    listen=("tcp://127.0.0.1:6380",),
    upstream="redis://:***@h:6379",
    counted={"clients": 2, "clients_accepted": 5, "hits": 9, "misses": 1, "later": 4},
    links=(
        {"user": "", "db": 0, "state": "ready", "bypassed": {'odd "reason"\n': 2, "expired": 0}},
        {"user": "app", "db": 1, "state": "down", "bypassed": {'odd "reason"\n': 1}},
    ),
)
SAMPLE = re.compile(r'([a-z_]+)(\{(?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)*\})? ([0-9.]+)')


class Subject:
    def __init__(self):
        self.now = SNAPSHOT

    def snapshot(self):
        return self.now


@pytest.fixture
def subject():
    return Subject()


@pytest.fixture
def port(subject):
    with admin.AdminEndpoint(Admin("127.0.0.1", 0), subject) as endpoint:
        yield int(endpoint.url.rpartition(":")[2])


def ask(port, path, method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read().decode()
    finally:
        connection.close()


def test_alive_as_long_as_the_process(port, subject):
    subject.now = ProxySnapshot()
    assert ask(port, "/healthz")[0] == 200


@pytest.mark.parametrize(
    ("snapshot", "status", "says"),
    [
        (ProxySnapshot(ready=True), 200, "ready\n"),
        (ProxySnapshot(problem="refused"), 503, "no upstream: refused\n"),
        (ProxySnapshot(ready=True, draining=True), 503, "draining\n"),
    ],
)
def test_ready_while_the_upstream_answers_and_nothing_drains(port, subject, snapshot, status, says):
    subject.now = snapshot
    assert ask(port, "/readyz")[::2] == (status, says)


def test_stats_are_the_snapshot(port):
    status, headers, body = ask(port, "/stats?pretty")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body) == json.loads(json.dumps(SNAPSHOT.as_dict()))
    assert json.loads(body)["kind"] == "proxy"


def test_metrics_are_what_prometheus_reads(port):
    status, headers, body = ask(port, "/metrics")
    assert (status, headers["Content-Type"]) == (200, metrics.CONTENT_TYPE)
    types, seen = {}, {}
    for line in body.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types, "a family is described once"
            types[name] = kind
        elif not line.startswith("# HELP "):
            name, labels, value = SAMPLE.fullmatch(line).groups()
            assert name in types, "a sample follows its type"
            seen[name, labels] = float(value)
    assert all(name.startswith("cachee_") for name in types)
    assert all((kind == "counter") == name.endswith("_total") for name, kind in types.items())
    assert seen["cachee_hits_total", None] == 9
    assert seen["cachee_clients", None] == 2
    assert seen["cachee_ready", None] == 1
    assert seen["cachee_link_bypassed_total", r'{reason="odd \"reason\"\n"}'] == 3
    assert seen["cachee_links", '{state="down"}'] == 1
    assert seen["cachee_links", '{state="connecting"}'] == 0
    assert seen["cachee_build_info", '{version="1.2.3"}'] == 1


def test_every_number_of_the_native_half_has_a_row():
    upstream = asdict(parse_upstream("redis://127.0.0.1:1"))
    listen = [("tcp", "127.0.0.1", 0, "")]
    proxy = _core.Proxy(listen=listen, upstream=upstream, settings={"threads": 1})
    try:
        numbers = {name for name, value in proxy.stats().items() if isinstance(value, int)}
    finally:
        proxy.close()
    assert numbers <= set(metrics.METRICS)


def test_a_number_without_a_row_is_shown_all_the_same():
    assert "\n# TYPE cachee_later untyped\ncachee_later 4\n" in metrics.render(SNAPSHOT.as_dict())


@pytest.mark.parametrize("path", ["/", "/metrics/", "/healthz/x", "//", "*", "/%6Detrics"])
def test_anything_else_is_not_there(port, path):
    assert ask(port, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
def test_other_methods_are_not_allowed(port, method):
    status, headers, _ = ask(port, "/metrics", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/nothing"])
def test_a_head_is_a_get_without_the_body(port, path):
    got, head = ask(port, path), ask(port, path, "HEAD")
    assert (head[0], head[1]["Content-Length"]) == (got[0], got[1]["Content-Length"])
    assert head[2] == ""


@pytest.mark.parametrize(
    "request_", [b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET /" + b"x" * 70_000]
)
def test_garbage_is_a_bad_request_and_the_next_is_served(port, request_):
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(request_)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b" 4" in answer.partition(b"\n")[0] or b"Bad" in answer
    assert ask(port, "/healthz")[0] == 200


def test_a_connection_too_many_is_told_so_at_once(port):
    idle = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(admin.CONNECTIONS_MAX)]
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as one_more:
            assert one_more.recv(65536).startswith(b"HTTP/1.0 503 ")
    finally:
        for connection in idle:
            connection.close()
    until(lambda: ask(port, "/healthz")[0] == 200, "a place that is free again")


def test_a_slow_request_is_cut_off(monkeypatch, subject):
    monkeypatch.setattr(admin, "REQUEST_TIMEOUT_S", 0.05)
    with admin.AdminEndpoint(Admin("127.0.0.1", 0), subject) as endpoint:
        port = int(endpoint.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\n")
            assert connection.recv(65536) == b""


def test_what_is_in_use_is_one_error(port, subject):
    with pytest.raises(CacheeError, match=rf"cannot listen on admin 127\.0\.0\.1:{port}: "):
        admin.AdminEndpoint(Admin("127.0.0.1", port), subject)


def test_ipv6(subject):
    try:
        endpoint = admin.AdminEndpoint(Admin("::1", 0), subject)
    except CacheeError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with endpoint:
        assert endpoint.url.startswith("http://[::1]:")
