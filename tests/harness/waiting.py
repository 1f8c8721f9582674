"""The one way the tests wait, the conformance kit's own: for a condition, up to a deadline."""

from cachee.conformance.waiting import PATIENCE_S, STEP_S, until

__all__ = ["PATIENCE_S", "STEP_S", "until"]
