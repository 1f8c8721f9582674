"""Enough file descriptors for as many clients as are allowed: two each, one to either side.

A server that has run out of descriptors can neither accept nor refuse. So the process asks for as
many as `max_clients` needs, which it may up to the hard limit, and allows fewer clients where that
is not enough.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import replace

from cachee._proxy_settings import ProxySettings

DESCRIPTORS_A_CLIENT = 2
DESCRIPTORS_OF_OURS = 256

__all__ = ["fit"]


def fit(own: ProxySettings, say: Callable[[str], None]) -> ProxySettings:
    """The settings with as many clients as there can be descriptors for."""
    needed = own.max_clients * DESCRIPTORS_A_CLIENT + DESCRIPTORS_OF_OURS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return own
    wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        wanted = soft
    clients = max(1, (wanted - DESCRIPTORS_OF_OURS) // DESCRIPTORS_A_CLIENT)
    if clients >= own.max_clients:
        return own
    if own.max_clients != ProxySettings().max_clients:
        say(
            f"max_clients is {clients}, not {own.max_clients}: the system allows {wanted} open "
            f"files (ulimit -n), and {needed} are needed"
        )
    return replace(own, max_clients=clients)
