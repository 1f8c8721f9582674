"""The staleness checker finds nothing, and finds every rule that is broken on purpose."""

import contextlib
from collections.abc import Callable, Iterator

import pytest

import cachee
from cachee.integrations.redis.views import View
from tests.harness.relay_process import RelayProcess
from tests.staleness.check import HIT_RATE_FLOOR, Plan, check

Mutation = Callable[[RelayProcess], contextlib.AbstractContextManager[None]]


def test_no_rule_is_broken(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = request.config.getoption("--staleness-seconds")
    outcome = check(Plan(seconds, request.config.getoption("--staleness-seed")))
    with capsys.disabled():
        print(f"\n{outcome}")
    assert outcome.violations == []
    assert outcome.hit_rate > HIT_RATE_FLOOR, "too few hits: the run does not count"
    assert outcome.ahead > 0, "nothing was read ahead"
    assert outcome.here.writes > 10 * seconds
    assert seconds < 30 or len({name for _, name in outcome.faults}) == 10, (
        "each fault at least once"
    )


@pytest.mark.parametrize("every_connection", [False, True], ids=["links", "all"])
def test_no_rule_is_broken_through_the_proxy(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], every_connection: bool
) -> None:
    seconds = request.config.getoption("--staleness-seconds") / 4
    seed = request.config.getoption("--staleness-seed")
    outcome = check(Plan(seconds, seed, through="proxy", every_connection=every_connection))
    with capsys.disabled():
        print(f"\n{outcome}")
    assert outcome.violations == []
    assert outcome.hit_rate > HIT_RATE_FLOOR, "too few hits: the run does not count"
    assert outcome.ahead > 0, "nothing was read ahead"
    assert outcome.here.writes > 10 * seconds


def _on_the_wire(action: str) -> Mutation:
    @contextlib.contextmanager
    def mutate(relay: RelayProcess) -> Iterator[None]:
        relay.always(action)
        yield

    return mutate


@contextlib.contextmanager
def _own_writes_not_noted(relay: RelayProcess) -> Iterator[None]:
    """Neither the beginning nor the end of a write reaches the L1, only the server's push does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(View, "begin_write", lambda view, commands: 0)
        patch.setattr(View, "end_write", lambda view, ticket, commands: None)
        yield


MUTATIONS: dict[str, tuple[Mutation, frozenset[str]]] = {
    "pushes are lost": (_on_the_wire("drop_pushes"), frozenset({"P1"})),
    "pushes come behind later replies": (_on_the_wire("late_pushes"), frozenset({"P1"})),
    "the expiry of keys is not known": (_on_the_wire("hide_ttls"), frozenset({"expiry"})),
    "own writes are not noted": (_own_writes_not_noted, frozenset({"own write"})),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_rule_broken_on_purpose_is_found(name: str) -> None:
    mutate, expected = MUTATIONS[name]
    outcome = check(Plan(20, 1, faults=False, stop_at=expected), mutate)
    assert expected & outcome.kinds, f"{outcome}"
    assert outcome.seconds < 20
    assert cachee.stats().mode == "off"


@pytest.mark.parametrize("name", ["pushes are lost", "the expiry of keys is not known"])
def test_a_rule_broken_on_purpose_is_found_through_the_proxy(name: str) -> None:
    mutate, expected = MUTATIONS[name]
    outcome = check(Plan(20, 1, faults=False, stop_at=expected, through="proxy"), mutate)
    assert expected & outcome.kinds, f"{outcome}"
    assert outcome.seconds < 20
