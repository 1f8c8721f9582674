"""What a case can end with: pass is its evidence, the rest is raised."""

from __future__ import annotations

from enum import Enum


class Outcome(str, Enum):
    """How a case ended for a client."""

    PASS = "pass"
    FAIL = "fail"
    HANG = "hang"
    NOT_APPLICABLE = "n/a"


class VerdictError(Exception):
    """A case is over; the text is the evidence, in one line."""

    outcome: Outcome


class FailedError(VerdictError):
    """The rule is broken."""

    outcome = Outcome.FAIL


class HungError(VerdictError):
    """A call did not come back."""

    outcome = Outcome.HANG


class NotApplicableError(VerdictError):
    """Nothing can be said of this client: it does not cache this, or cannot do that at all."""

    outcome = Outcome.NOT_APPLICABLE
