"""`cachee proxy`: the L1 for every language, as a Redis server on a port of its own.

The native half (`_core.Proxy`) listens, speaks RESP and holds the L1. Here is what is around it:
addresses (`url`), the process (`server`), the admin endpoint (`admin`, `metrics`), the names of hot
keys that survive a restart (`snapshot`) and what systemd is told (`systemd`).
"""

__all__: list[str] = []
