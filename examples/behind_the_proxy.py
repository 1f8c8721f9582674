"""A program that knows nothing of cachee, pointed at `cachee proxy` by its environment.

The program could be in any language; what changes is the address it connects to.
Needs a Redis 7 or a Valkey on its usual port: python examples/behind_the_proxy.py
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

UPSTREAM = "redis://127.0.0.1:6379"
PROGRAM = """
import os, redis
client = redis.Redis(host=os.environ["REDIS_HOST"], port=int(os.environ["REDIS_PORT"]))
client.set("user:42", "Ada")
names = {client.get("user:42") for _ in range(5_000)}
client.set("user:42", "Grace")  # own writes are seen at once
print(names, client.get("user:42"))
client.close()
"""


@contextmanager
def proxy(upstream: str) -> Iterator[tuple[str, str, int]]:
    """Host and port of a proxy that serves, and its process id; it drains when the block ends."""
    command = [sys.executable, "-m", "cachee", "proxy", "--json"]
    command += ["--listen", "tcp://127.0.0.1:0", "--upstream", upstream]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            ready = json.loads(line)["ready"]
            host, port = ready["listen"][0].removeprefix("tcp://").split(":")
            yield host, port, ready["pid"]
        finally:
            process.terminate()


def main() -> None:
    with proxy(UPSTREAM) as (host, port, pid):
        environment = {**os.environ, "REDIS_HOST": host, "REDIS_PORT": port}
        subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True)
        asked = [sys.executable, "-m", "cachee", "stats", str(pid), "--json"]
        stats = json.loads(subprocess.check_output(asked))
        print(f"{stats['hits']} of {stats['reads']} reads were answered by the proxy")


if __name__ == "__main__":
    main()
