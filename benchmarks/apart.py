"""Contenders that are not timed side by side: each does its steps in a fresh process of its own."""

from __future__ import annotations

import importlib
import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection

from benchmarks.contest import Contender, Setting

# One step of a contender: does something and gives the fields of a row.
Step = Callable[[], dict]


def rows(module: str, contender: Contender, setting: Setting, timeout_s: float) -> list[dict]:
    """One row a step, or one with the reason where the contender failed or never ended."""
    context = multiprocessing.get_context("spawn")
    pipe, inside = context.Pipe()
    arguments = (inside, module, contender.name, setting)
    process = context.Process(target=_steps, args=arguments, daemon=True)
    process.start()
    inside.close()
    found = []
    answer: dict | None = None
    try:
        while True:
            answer = pipe.recv() if pipe.poll(timeout_s) else _failed(f"hung for {timeout_s} s")
            if answer:
                found.append({"contender": contender.name, "note": contender.note, **answer})
            if not answer or "failed" in answer:
                return found
    except EOFError:
        process.join()
        failure = _failed(f"its process ended with code {process.exitcode}")
        return [*found, {"contender": contender.name, **failure}]
    finally:
        process.kill()
        process.join()


def _failed(reason: str) -> dict:
    return {"failed": reason}


def _steps(pipe: Connection, module: str, name: str, setting: Setting) -> None:
    figure = importlib.import_module(module)
    contender = next(c for c in figure.CONTENDERS if c.name == name)
    try:
        with contender.prepare(setting) as steps:
            for workload, act in steps.items():
                pipe.send({"workload": workload, **act()})
            pipe.send(None)
    except BaseException as error:  # noqa: BLE001 - a contender's failure is a result, not ours
        pipe.send(_failed(f"{type(error).__name__}: {error}"))
    # Neither a million objects nor a thread that hangs is waited for.
    os._exit(0)
