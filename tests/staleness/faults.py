"""The seeded schedule of what goes wrong."""

import contextlib
import random
import threading
import time
from collections.abc import Callable

from tests.harness.relay_process import RelayProcess
from tests.harness.resp import ServerError
from tests.harness.servers import Server

FLUSH_AND_RESTORE = """
local kept = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  kept[#kept + 1] = {key, redis.call('DUMP', key), redis.call('PEXPIRETIME', key)}
end
redis.call('FLUSHALL')
for _, each in ipairs(kept) do
  redis.call('RESTORE', each[1], math.max(each[3], 0), each[2], 'ABSTTL')
end
return #kept
"""


class Faults:
    """The seeded schedule of what goes wrong."""

    def __init__(
        self,
        server: Server,
        relay: RelayProcess,
        stop: threading.Event,
        seed: int,
        *,
        every_connection: bool = False,
    ):
        self._server, self._relay, self._stop = server, relay, stop
        self._choice = random.Random(seed)
        self._act = relay.do_to_all if every_connection else relay.do
        self.done: list[tuple[float, str]] = []
        self._actions: dict[str, Callable[[], None]] = {
            "link cut": lambda: self._links("cut"),
            "link reset": lambda: self._links("reset"),
            "link swallowed": lambda: self._links("black_hole"),
            "bytes held back": self._hold,
            "bytes fragmented": self._fragment,
            "link killed by the server": lambda: self._tolerant(self._server.kill_trackers),
            "every connection killed": self._kill_connections,
            "server killed and restarted": self._server.restart,
            "server stopped and continued": self._pause,
            "everything flushed and restored": self._flush,
        }

    def run(self, until_moment: float) -> None:
        """One fault after the other with quiet time in between; the first round takes each once."""
        plan = list(self._actions)
        self._choice.shuffle(plan)
        while time.monotonic() < until_moment and not self._stop.is_set():
            name = plan.pop() if plan else self._choice.choice(list(self._actions))
            self.done.append((time.monotonic(), name))
            self._actions[name]()
            self._stop.wait(self._choice.uniform(0.8, 2.5))

    def _links(self, action: str) -> None:
        self._act(action)

    def _hold(self) -> None:
        self._act("hold")
        self._stop.wait(self._choice.uniform(0.1, 1.8))
        self._act("flow")

    def _fragment(self) -> None:
        self._act("fragment")
        self._stop.wait(0.5)
        self._act("flow")

    def _tolerant(self, call: Callable[[], object]) -> None:
        with contextlib.suppress(ServerError, OSError):
            call()

    def _kill_connections(self) -> None:
        self._tolerant(lambda: self._server.call("CLIENT", "KILL", "TYPE", "normal"))

    def _pause(self) -> None:
        self._server.pause()
        self._stop.wait(self._choice.uniform(0.1, 1.8))
        self._server.resume()

    def _flush(self) -> None:
        self._tolerant(lambda: self._server.call("EVAL", FLUSH_AND_RESTORE, 0))
