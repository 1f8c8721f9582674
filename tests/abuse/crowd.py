"""Many clients at once."""

import contextlib
import resource
import socket
from collections.abc import Iterator

from tests.harness.proxies import Proxy
from tests.harness.waiting import until


def connection(front: Proxy) -> socket.socket:
    """One more client."""
    return socket.create_connection(("127.0.0.1", front.port), timeout=30)


@contextlib.contextmanager
def crowd_of(front: Proxy, count: int, said: bytes) -> Iterator[list[socket.socket]]:
    """So many connections that have said that much and nothing more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count + 200:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count + 200), hard))
    # Those of before may still be going: how many there are says less than how many have come.
    before, come = front.stats()["clients"], front.stats()["clients_accepted"]
    crowd = []
    try:
        for _ in range(count):
            crowd.append(connection(front))
            if said:
                crowd[-1].sendall(said)
        until(lambda: front.stats()["clients_accepted"] >= come + count, "all are connected", 30)
        yield crowd
    finally:
        for each in crowd:
            each.close()
    until(lambda: front.stats()["clients"] <= before, "all are gone", 30)
