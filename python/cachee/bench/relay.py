"""A process that passes bytes on, unread: the floor of any proxy, or with a delay the network.

Run as `python -m cachee.bench.relay LISTEN UPSTREAM [DELAY_MS]`, addresses as `tcp://HOST:PORT` or
`unix:PATH`; prints one line `ready ADDRESS`, and ends by a signal.
"""

from __future__ import annotations

import contextlib
import sys

from cachee._core import relay_bytes


def main(argv: list[str]) -> None:
    """Relay until a signal comes."""
    listen, upstream, *delay = argv[1:]
    delay_ms = float(delay[0]) if delay else 0.0
    with contextlib.suppress(KeyboardInterrupt):
        relay_bytes(listen, upstream, delay_ms=delay_ms, ready=_tell)


def _tell(address: str) -> None:
    sys.stdout.write(f"ready {address}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv)
