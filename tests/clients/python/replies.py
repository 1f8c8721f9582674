"""What both Python programs share: where the store is, what they write, how a step is printed."""

import hashlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any

ROUNDS = 10
STEADY_READS = 40
BINARY = bytes(range(256))
LARGE = bytes(index * 31 % 251 for index in range(1 << 20))
TAG_SCRIPT = "return {KEYS[1], ARGV[1], redis.call('GET', KEYS[1])}"
SET_SCRIPT = "redis.call('SET', KEYS[1], ARGV[1]); return redis.call('GET', KEYS[1])"
TYPED_SCRIPT = "redis.setresp(3); return {redis.call('HGETALL', KEYS[1]), {double=1.5}, true}"
UNDECLARED_SCRIPT = "return redis.call('SET', 'hot:string', ARGV[1])"
_SHOWN_WHOLE_BYTES = 300


def options() -> dict[str, Any]:
    """The keywords of a client class, from the environment."""
    environment = os.environ
    found: dict[str, Any] = {
        "host": environment["STORE_HOST"],
        "port": int(environment["STORE_PORT"]),
        "protocol": int(environment["STORE_PROTOCOL"]),
    }
    if ca := environment.get("STORE_CA"):
        found |= {"ssl": True, "ssl_ca_certs": ca}
    if user := environment.get("STORE_USER"):
        found["username"] = user
    if password := environment.get("STORE_PASSWORD"):
        found["password"] = password
    return found


def shown(value: Any) -> Any:
    """A reply as JSON can hold it; bytes as one character each, long ones as length and digest."""
    if isinstance(value, bytes):
        if len(value) > _SHOWN_WHOLE_BYTES:
            return f"{len(value)} bytes {hashlib.sha1(value).hexdigest()}"
        return value.decode("latin-1")
    if isinstance(value, dict):
        return sorted([shown(name), shown(each)] for name, each in value.items())
    if isinstance(value, set | frozenset):
        return sorted(shown(each) for each in value)
    if isinstance(value, list | tuple):
        return [shown(each) for each in value]
    if isinstance(value, Exception):
        return f"{type(value).__name__}: {value}"
    return value


def step(name: str, *replies: Any) -> None:
    """Prints one line."""
    sys.stdout.write(json.dumps({"step": name, "reply": shown(replies)}) + "\n")


def failed(call: Callable[[], Any]) -> Any:
    """The error that a call ends with."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - whatever the client raises is the reply
        return error
