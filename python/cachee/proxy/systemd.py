"""What systemd is told (sd_notify): ready, reloading, stopping. Without NOTIFY_SOCKET, nothing.

One datagram a message to the socket the environment names; a failure is nobody's concern, since the
proxy serves all the same.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping

NOTIFY_VARIABLE = "NOTIFY_SOCKET"

__all__ = ["Notifier"]


class Notifier:
    """Tells the service manager, if there is one, what this process is doing.

    >>> Notifier({}).ready("serving")
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environment is None else environment
        self._address = environ.get(NOTIFY_VARIABLE, "")

    def ready(self, status: str) -> None:
        """Serving, from the start or again after `reloading`."""
        self._send(f"READY=1\nSTATUS={status}\nMAINPID={os.getpid()}")

    def reloading(self) -> None:
        """The configuration is being read again; `ready` must follow."""
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now_us}\nSTATUS=reloading")

    def stopping(self) -> None:
        """Draining; the process will end."""
        self._send("STOPPING=1\nSTATUS=draining")

    def _send(self, text: str) -> None:
        if not self._address.startswith(("/", "@")):
            return
        # "@" stands for the zero byte that begins an abstract address.
        address = self._address if self._address[0] == "/" else "\0" + self._address[1:]
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.settimeout(1.0)
            out.sendto(text.encode(), address)
