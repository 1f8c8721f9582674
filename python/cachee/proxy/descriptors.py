"""Enough file descriptors for as many clients as are allowed.

Two each, one to either side; in front of a cluster one for each primary besides, and how many there
are is not known yet.

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
DESCRIPTORS_A_CLIENT_OF_A_CLUSTER = 8
# 64 links of four, listeners, event loops, the admin endpoint.
DESCRIPTORS_OF_OURS = 512

__all__ = ["fit"]


def fit(own: ProxySettings, say: Callable[[str], None]) -> ProxySettings:
    """The settings with as many clients as there can be descriptors for."""
    is_cluster = "+cluster://" in own.upstream
    each = DESCRIPTORS_A_CLIENT_OF_A_CLUSTER if is_cluster else DESCRIPTORS_A_CLIENT
    needed = own.max_clients * each + DESCRIPTORS_OF_OURS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return own
    wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        wanted = soft
    clients = max(1, (wanted - DESCRIPTORS_OF_OURS) // each)
    if clients >= own.max_clients:
        return own
    if own.max_clients != ProxySettings().max_clients:
        say(
            f"max_clients is {clients}, not {own.max_clients}: the system allows {wanted} open "
            f"files (ulimit -n), and {needed} are needed"
        )
    return replace(own, max_clients=clients)
