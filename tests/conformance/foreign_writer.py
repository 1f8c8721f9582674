"""A second process that writes with a plain client: `-m … PORT`, names of writes on stdin."""

import subprocess
import sys
from types import TracebackType

from tests.conformance.writes import WRITES


class ForeignWriter:
    """The other end: starts the process and asks it for one write after the other."""

    def __init__(self, port: int):
        command = [sys.executable, "-m", __name__, str(port)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def write(self, name: str) -> None:
        """Returns once the write was done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == f"{name} done\n"

    def __enter__(self) -> "ForeignWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()


def _main(port: str) -> None:
    import redis

    with redis.Redis(port=int(port)) as client:
        for line in sys.stdin:
            name = line.strip()
            WRITES[name].write(client)
            print(name, "done", flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
