"""A plain redis-py client through `cachee proxy`."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from cachee._guard import guarded
from cachee.conformance.clients.cachee_redis_py import SILENCE_BOUND_S
from cachee.conformance.clients.client import Opening, required
from cachee.conformance.clients.redis_like import RedisLike, arguments

_proxies: dict[tuple[str, int], tuple[int, int]] = {}


def _proxy(opening: Opening) -> tuple[int, int]:
    """Port and process of the one proxy in front of a server, started when first asked for."""
    upstream = opening.host, opening.port
    if upstream not in _proxies:
        _proxies[upstream] = _start(opening)
    return _proxies[upstream]


def _start(opening: Opening) -> tuple[int, int]:
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cachee-kit-")))
    command = [sys.executable, "-m", "cachee", "proxy", "--listen", "tcp://127.0.0.1:0"]
    command += ["--upstream", f"redis://{opening.host}:{opening.port}"]
    variables = {name: text for name, text in os.environ.items() if "CACHEE_" not in name}
    variables["CACHEE_MAX_STALENESS"] = f"{SILENCE_BOUND_S:.0f}s"
    if opening.max_age_ms is not None:
        variables["CACHEE_MAX_AGE"] = f"{opening.max_age_ms}ms"
    if opening.max_memory is not None:
        variables["CACHEE_MAX_MEMORY"] = str(opening.max_memory)
    process = stack.enter_context(
        guarded("cachee proxy", command, directory, variables, stop=signal.SIGTERM)
    )
    log = directory / "log"

    def address() -> str:
        lines = log.read_text(errors="replace").splitlines()
        return next((line.split()[1] for line in lines if line.startswith("ready ")), "")

    process.wait_until(lambda: bool(address()))
    return int(address().rpartition(":")[2]), process.pid


class Adapter(RedisLike):
    """What any client of any language is to the proxy."""

    distributions = ("cachee", "redis")
    accelerators = ("hiredis",)
    silence_bound_s = SILENCE_BOUND_S
    has_max_age = True
    bounds_bytes = True

    def build(self, opening: Opening) -> Any:
        redis = required("redis", "redis>=5")
        given = arguments(opening, "redis")
        given["port"], _ = _proxy(opening)
        return redis.Redis(**given)

    def process_id(self) -> int:
        return _proxy(self.opening)[1]
