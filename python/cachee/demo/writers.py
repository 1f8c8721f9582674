"""The rest of the company: changes sessions, permissions, flags and figures while requests run.

It writes to the stores directly, one change after the other, at random moments of the stated mean
rate, and logs each with the moment it was sent and the moment the store had confirmed it. One
session change in ten is a logout (the key is deleted); the user signs in again some seconds later,
before too many are out.

Run as `python -m cachee.demo.writers LOG ACCOUNTS RATE SEED` with the addresses in REDIS_URL and
DATABASE_URL; ends when its standard input does.
"""

from __future__ import annotations

import os
import random
import select
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import psycopg
from redis import Redis

from cachee.demo import content
from cachee.demo.history import Commit, Subject, line

# Of 20 changes: this many are of this kind.
SHARES = {"session": 10, "permissions": 4, "flags": 1, "cached_query": 5}
LOGOUT_SHARE = 0.1
SIGNED_OUT_MAX = 2


class Writers:
    """Makes one change at a time and remembers which revision comes next."""

    def __init__(self, redis: Redis, database: psycopg.Connection, accounts: int) -> None:
        self._redis = redis
        self._database = database
        self._users = content.Users(accounts)
        self._revisions: defaultdict[Subject, int] = defaultdict(lambda: content.FIRST_REVISION)
        self._signed_out: list[int] = []
        self._changes: dict[str, Callable[[int, int], None]] = {
            "session": self._sign_in,
            "permissions": self._grant,
            "flags": self._switch,
            "cached_query": self._refresh,
        }

    def change(self, dice: random.Random) -> tuple[Subject, Commit]:
        """Make one change of a random kind to a random user, and say what was committed when."""
        kind = dice.choices(list(SHARES), list(SHARES.values()))[0]
        account = self._users.draw(dice, 1)[0]
        write = self._changes[kind]
        if kind == "flags":
            account = content.ACCOUNT_OF_EVERYBODY
        if kind == "session":
            account, write = self._session_change(account, dice)
        subject = Subject(kind, account)
        self._revisions[subject] += 1
        revision = self._revisions[subject]
        sent_ns = time.monotonic_ns()
        write(account, revision)
        present = write != self._sign_out
        return subject, Commit(revision, sent_ns, time.monotonic_ns(), present)

    def _session_change(
        self, account: int, dice: random.Random
    ) -> tuple[int, Callable[[int, int], None]]:
        if len(self._signed_out) >= SIGNED_OUT_MAX:
            return self._signed_out.pop(0), self._sign_in
        if dice.random() < LOGOUT_SHARE and account not in self._signed_out:
            self._signed_out.append(account)
            return account, self._sign_out
        return account, self._sign_in

    def _sign_in(self, account: int, revision: int) -> None:
        value = content.session_value(account, revision)
        self._redis.set(content.session_key(account), value, ex=content.SESSION_TTL_S)

    def _sign_out(self, account: int, _revision: int) -> None:
        self._redis.delete(content.session_key(account))

    def _grant(self, account: int, revision: int) -> None:
        with self._redis.pipeline(transaction=True) as pipeline:
            content.put_permissions(pipeline, account, revision)
            pipeline.execute()

    def _switch(self, _account: int, revision: int) -> None:
        self._redis.hset("flags", items=content.flags_value(revision))

    def _refresh(self, account: int, revision: int) -> None:
        """A new order: PostgreSQL first, then the figures that Redis keeps of it."""
        update = "UPDATE accounts SET revision = %s WHERE id = %s"
        self._database.execute(update, (revision, account))
        [value] = content.summaries(self._database, account, account)
        self._redis.set(content.summary_key(account), value, ex=content.SUMMARY_TTL_S)


def main(argv: list[str]) -> None:
    """Write until standard input ends."""
    log, accounts, rate, seed = argv[1:]
    dice = random.Random(int(seed))
    redis = Redis.from_url(os.environ["REDIS_URL"])
    with (
        psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as database,
        Path(log).open("a", buffering=1) as commits,
    ):
        writers = Writers(redis, database, int(accounts))
        next_s = time.monotonic()
        while True:
            next_s += dice.expovariate(float(rate))
            wait_s = max(0.0, next_s - time.monotonic())
            if select.select([sys.stdin], [], [], wait_s)[0]:
                break
            commits.write(line(*writers.change(dice)))
    redis.close()


if __name__ == "__main__":
    main(sys.argv)
