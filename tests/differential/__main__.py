"""`python -m tests.differential --commands N --seed N --protocol 2|3` or `--garbage N`."""

import argparse
import sys

from tests.differential import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.differential")
    parser.add_argument("--commands", type=int, default=100_000, help="how many commands (100000)")
    parser.add_argument("--garbage", type=int, help="garbage streams instead of commands")
    parser.add_argument("--seed", type=int, default=1, help="seed of everything (1)")
    parser.add_argument("--protocol", type=int, choices=(2, 3), default=2, help="RESP version (2)")
    parser.add_argument("--stop-after", type=int, default=1, help="differences to look for (1)")
    parser.add_argument(
        "--through", choices=("proxy", "nothing"), default="proxy", help="what is compared (proxy)"
    )
    arguments = parser.parse_args()
    through = run.the_proxy if arguments.through == "proxy" else run.nothing
    if arguments.garbage:
        outcome = run.streams(arguments.garbage, arguments.seed, through, arguments.stop_after)
    else:
        outcome = run.commands(
            arguments.commands, arguments.seed, arguments.protocol, through, arguments.stop_after
        )
    print(outcome)
    if not outcome.counts and outcome.commands:
        print(f"  does not count: fewer than {run.HIT_SHARE_FLOOR:.1%} of the commands were hits")
        return 1
    return 1 if outcome.differences else 0


if __name__ == "__main__":
    sys.exit(main())
