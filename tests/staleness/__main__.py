"""`python -m tests.staleness --seconds N --seed N [--through proxy [--every-connection]]`."""

import argparse
import sys

from tests.staleness.check import HIT_RATE_FLOOR, Plan, check, work_as_second_process
from tests.staleness.places import PLACES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.staleness")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to run (60)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the faults (1)")
    parser.add_argument(
        "--through", choices=sorted(PLACES), default="process", help="where the L1 is (process)"
    )
    parser.add_argument(
        "--every-connection",
        action="store_true",
        help="the faults hit the proxy's private connections as well, not only its links",
    )
    parser.add_argument("--no-faults", action="store_true", help="leave the faults out")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work_as_second_process(*arguments.worker)
        return 0
    plan = Plan(
        arguments.seconds,
        arguments.seed,
        faults=not arguments.no_faults,
        through=arguments.through,
        every_connection=arguments.every_connection,
    )
    outcome = check(plan)
    print(outcome)
    if outcome.hit_rate < HIT_RATE_FLOOR:
        print(f"  does not count: fewer than {HIT_RATE_FLOOR:.0%} of the reads were hits")
    return 1 if outcome.violations or outcome.hit_rate < HIT_RATE_FLOOR else 0


if __name__ == "__main__":
    sys.exit(main())
