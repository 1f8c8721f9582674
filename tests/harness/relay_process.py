"""A relay in a process of its own, for tests that would starve it of the interpreter."""

import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

from tests.harness.relay import Connection, Relay
from tests.harness.resp import is_push


def _late_pushes(connection: Connection) -> None:
    """Pushes leave three seconds late, replies at once: an order no server makes."""
    waiting: deque[tuple[float, bytes]] = deque()

    def change(frame: bytes) -> bytes:
        now = time.monotonic()
        if is_push(frame):
            waiting.append((now + 3.0, frame))
            return b""
        due = []
        while waiting and waiting[0][0] < now:
            due.append(waiting.popleft()[1])
        return b"".join(due) + frame

    connection.down.rewrite(change)


def _hide_ttls(connection: Connection) -> None:
    """Every positive number becomes "no expiry"; for links that read no other numbers."""
    connection.down.rewrite(
        lambda frame: b":-1\r\n" if frame[:1] == b":" and frame[1:2] != b"-" else frame
    )


ACTIONS: dict[str, Callable[[Connection], None]] = {
    "hold": lambda each: each.down.hold(),
    "flow": lambda each: each.down.flow(),
    "cut": Connection.cut,
    "reset": Connection.reset,
    "black_hole": lambda each: each.down.black_hole(),
    "fragment": lambda each: each.down.fragment(3),
    "drop_pushes": lambda each: each.down.drop_pushes(),
    "late_pushes": _late_pushes,
    "hide_ttls": _hide_ttls,
}


class RelayProcess:
    """A relay in a process of its own, which acts on all its links (or connections) at once."""

    def __init__(self, upstream: tuple[str, int]):
        command = [
            sys.executable,
            "-m",
            "tests.harness.relay_process",
            upstream[0],
            str(upstream[1]),
        ]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._lock = threading.Lock()
        self.port = self._answer()

    def _answer(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def do(self, action: str) -> int:
        """Does it to every link there is now; how many those were."""
        return self._order(action)

    def do_to_all(self, action: str) -> int:
        """Does it to every connection there is now, links or not; how many those were."""
        return self._order(f"all {action}")

    def always(self, action: str) -> int:
        """Does it to every link, also to those to come."""
        return self._order(f"always {action}")

    def _order(self, line: str) -> int:
        with self._lock:
            assert self._process.stdin is not None
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
            return self._answer()

    def close(self) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()


def _main(host: str, port: str) -> None:
    """Serves one relay, steered by lines on stdin; each acts on what there is at that moment."""
    with Relay((host, int(port))) as relay:
        print(relay.port, flush=True)
        for line in sys.stdin:
            words = line.split()
            if words[0] == "always":
                relay.on_link = ACTIONS[words[1]]
            with relay.lock:
                targets = list(relay.connections) if words[0] == "all" else relay.links()
                for each in targets:
                    ACTIONS[words[-1]](each)
            relay.wake()
            print(len(targets), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
