"""Stands in for `_core.Proxy`: the same interface, no sockets, and what was asked of it kept."""

import threading


class NativeProxy:
    """Counts what it is told to count; `drain` waits until `all_gone` is set."""

    def __init__(self, *, listen, upstream, settings):
        self.given = {"listen": listen, "upstream": upstream, "settings": settings}
        self.addresses = [
            f"unix:{path}" if scheme == "unix" else f"{scheme}://{host}:{port or 45123}"
            for scheme, host, port, path in listen
        ]
        self.reloads = []
        self.warmed = []
        self.hot = []
        self.counted = {"clients": 2, "hits": 9, "misses": 1, "bypassed": 3}
        self.links = [
            {
                "user": "",
                "db": 0,
                "state": "ready",
                "reason": "valkey 8",
                "bypassed": {"expired": 1},
            }
        ]
        self.answering = True
        self.all_gone = threading.Event()
        self.all_gone.set()
        self.closed = False

    def reload(self, settings):
        self.reloads.append(settings)

    def drain(self, timeout_s):
        return self.all_gone.wait(timeout_s)

    def close(self):
        self.closed = True

    def is_ready(self):
        return self.answering

    def stats(self):
        return {**self.counted, "links": self.links}

    def hot_keys(self, count):
        return self.hot[:count]

    def warm(self, names):
        self.warmed += names
