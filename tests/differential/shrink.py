"""From the steps of an episode that differed to the few that are needed."""

import time
from collections.abc import Callable
from dataclasses import replace

from tests.differential.compare import Difference, spelled
from tests.differential.steps import Step

Run = Callable[[list[Step]], Difference | None]


def shrink(steps: list[Step], run: Run, budget_s: float) -> tuple[list[Step], Difference | None]:
    """Leaves out steps, then commands, as long as there still is a difference."""
    deadline = time.monotonic() + budget_s
    best, found = steps, run(steps)
    if found is None:
        return steps, None
    for parts in (_without_steps, _without_commands):
        size = 1 << 12
        while size and time.monotonic() < deadline:
            smaller = parts(best, size)
            progress = False
            for candidate in smaller:
                if time.monotonic() > deadline:
                    break
                again = run(candidate)
                if again is not None:
                    best, found, progress = candidate, again, True
                    break
            if not progress:
                size //= 2
    return best, found


def _without_steps(steps: list[Step], size: int) -> list[list[Step]]:
    if size >= len(steps):
        return []
    return [steps[:at] + steps[at + size :] for at in range(0, len(steps), size)]


def _without_commands(steps: list[Step], size: int) -> list[list[Step]]:
    smaller = []
    for at, step in enumerate(steps):
        if step.frames is not None or size >= len(step.commands):
            continue
        for begin in range(0, len(step.commands), size):
            kept = step.commands[:begin] + step.commands[begin + size :]
            smaller.append([*steps[:at], replace(step, commands=kept), *steps[at + 1 :]])
    return smaller


def told(steps: list[Step], limit: int = 40) -> str:
    """The steps as text."""
    lines = []
    for step in steps:
        how = "one by one" if step.frames is not None else "pipelined"
        extra = "".join(f", {word}" for word in ("inline", "fragments") if getattr(step, word))
        lines.append(f"    connection {step.at} ({how}{extra}):")
        lines += [f"      {spelled(words)}" for words in step.commands]
    return "\n".join(
        lines[:limit] + ([f"      … {len(lines) - limit} more"] if lines[limit:] else [])
    )
