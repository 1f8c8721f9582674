"""How much memory is worth it: record what is asked for, then play it at several sizes.

Needs a Redis 7 or a Valkey on its usual port: python examples/how_much_memory.py
"""

import random
import subprocess
import sys
import tempfile
from pathlib import Path

import redis

import cachee


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        cachee.install(record=Path(folder) / "trace.u64", record_sample=1, record_keys="hashed")
        client = redis.Redis()
        draw = random.Random(7)
        for _ in range(5_000):
            client.get(f"user:{int(draw.paretovariate(0.8)) % 1_000}")
        client.close()
        cachee.uninstall()  # what is left is written; so it is at the end of the program

        (trace,) = Path(folder).iterdir()  # one a process: trace-4242.u64
        words = [str(trace), "--sizes", "1%,10%,50%", "--value-bytes", "256"]
        subprocess.run([sys.executable, "-m", "cachee", "simulate", *words], check=True)


if __name__ == "__main__":
    main()
