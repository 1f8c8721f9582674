"""`cachee proxy` as a process, started as a user would and stopped as an init system would."""

import contextlib
import json
import selectors
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from typing import Any

_START_S = 20.0
_STOP_S = 20.0
_UPSTREAM_LINE = "cachee proxy: the upstream is "


class Proxy:
    """A running proxy, by what its `ready` line says."""

    def __init__(self, ready: str):
        words = ready.split()
        assert words[:1] == ["ready"], f"not the line of a proxy that serves: {ready!r}"
        self.listeners = words[1 : words.index("upstream")]
        rest = words[words.index("upstream") :]
        self._named = dict(zip(rest[::2], rest[1::2], strict=True))

    @property
    def port(self) -> int:
        """The first TCP listener's port."""
        return int(self._listener("tcp://").rpartition(":")[2])

    @property
    def tls_port(self) -> int:
        """The first TLS listener's port."""
        return int(self._listener("tls://").rpartition(":")[2])

    @property
    def unix(self) -> str:
        """The first Unix socket's path."""
        return self._listener("unix:").removeprefix("unix:")

    @property
    def upstream(self) -> str:
        """The upstream's URL, its password hidden."""
        return self._named["upstream"]

    @property
    def admin_url(self) -> str:
        """Where the admin endpoint answers."""
        return self._named["admin"]

    @property
    def pid(self) -> int:
        return int(self._named["pid"])

    def stats(self) -> dict[str, Any]:
        """What `/stats` says now."""
        with urllib.request.urlopen(f"{self.admin_url}/stats", timeout=10) as response:
            found: dict[str, Any] = json.load(response)
            return found

    def _listener(self, scheme: str) -> str:
        return next(each for each in self.listeners if each.startswith(scheme))


def _first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        return process.stdout.readline() if selector.select(_START_S) else ""


@contextlib.contextmanager
def proxy(*arguments: str, upstream: str | None = None, saying: str = "") -> Iterator[Proxy]:
    """A proxy for one block, on a TCP port and an admin port of its own.

    Its end is part of the test: SIGTERM, then exit code 0 and nothing but `saying` on stderr, and
    what is said of an upstream that a test took away.
    """
    command = [sys.executable, "-m", "cachee", "proxy", "--listen", "tcp://127.0.0.1:0"]
    command += [*arguments, "--admin", "127.0.0.1:0"]
    command += ["--upstream", upstream] if upstream else []
    with tempfile.TemporaryFile("w+") as errors:

        def said() -> str:
            errors.seek(0)
            return "".join(line for line in errors if not line.startswith(_UPSTREAM_LINE))

        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        with process:
            try:
                line = _first_line(process)
                assert line, f"the proxy did not come up: {said()}"
                yield Proxy(line)
                process.send_signal(signal.SIGTERM)
                code = process.wait(_STOP_S)
                assert (code, said()) == (0, saying), f"exit code {code}, stderr: {said()}"
            except BaseException:
                print(f"the proxy's stderr: {said()}")
                raise
            finally:
                if process.poll() is None:
                    process.kill()
