"""The relay of the conformance kit, which holds, cuts and stalls bytes for every test."""

from cachee.conformance.lane import Lane
from cachee.conformance.relay import Connection, Relay

__all__ = ["Connection", "Lane", "Relay"]
