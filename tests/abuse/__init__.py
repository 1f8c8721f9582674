"""What a client or an upstream may do to a proxy, and what the others must not notice of it.

Each test states its bar beside it. `--abuse 10` does ten times as much of everything and holds the
times to their bars; by default they may be exceeded by `SLACK`, since a machine that runs a test
suite is busy.
"""
