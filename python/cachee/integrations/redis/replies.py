"""From a raw reply to what the client's method returns: the second half of its parse_response."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from cachee.integrations.redis.commands import KINDS_BY_SPELLING

__all__ = ["finish"]

NEVER_DECODE = "NEVER_DECODE"


def finish(
    client: Any, args: tuple[object, ...], options: MutableMapping[str, Any], reply: Any
) -> Any:
    """Apply the client's own response callback; what it raises is the caller's.

    An asyncio client may have a callback that returns an awaitable: it is returned as it is. Names
    are looked up without regard to case only when they are not spelt as the library does.
    """
    options.pop("keys", None)
    options.pop("EMPTY_RESPONSE", None)
    name, callbacks = args[0], client.response_callbacks
    callback = dict.get(callbacks, name)
    if callback is not None:
        return callback(reply, **options)
    if name not in KINDS_BY_SPELLING and name in callbacks:
        return callbacks[name](reply, **options)
    return reply
