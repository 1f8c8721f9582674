"""`python -m tests.staleness --seconds N --seed N`."""

import argparse
import sys

from tests.staleness.check import HIT_RATE_FLOOR, check, work_as_second_process


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.staleness")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to run (60)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the faults (1)")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work_as_second_process(*arguments.worker)
        return 0
    outcome = check(arguments.seconds, arguments.seed)
    print(outcome)
    if outcome.hit_rate < HIT_RATE_FLOOR:
        print(f"  does not count: fewer than {HIT_RATE_FLOOR:.0%} of the reads were hits")
    return 1 if outcome.violations or outcome.hit_rate < HIT_RATE_FLOOR else 0


if __name__ == "__main__":
    sys.exit(main())
