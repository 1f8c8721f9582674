"""What is in the stores: keys, values and tables, each value a function of owner and revision.

Every value carries the revision it was written with (in a JSON field, a set member, a hash field or
a column), so that an answer of the application shows which revision of each it was made from.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import accumulate

import psycopg
from psycopg.rows import dict_row
from redis import Redis
from redis.client import Pipeline

ACCOUNT_OF_EVERYBODY = -1
FLAG_COUNT = 40
FIRST_REVISION = 1
GRANTED_COUNT = 12
ORDERS_PER_ACCOUNT = 12
ORDER_COLUMNS = "account_id, product, amount_cents, created_at"
SEED_BATCH = 500
SESSION_TTL_S = 1800
SUMMARY_TTL_S = 3600
ZIPF_EXPONENT = 1.0

ALL_PERMISSIONS = [
    f"{subject}:{action}"
    for subject in ("orders", "invoices", "users", "reports", "exports", "teams", "keys", "billing")
    for action in ("read", "write", "delete", "share")
]

TABLES = """
    DROP TABLE IF EXISTS orders, accounts;
    CREATE TABLE accounts (id int PRIMARY KEY, name text NOT NULL, plan text NOT NULL,
                           revision int NOT NULL);
    CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY, account_id int NOT NULL,
                         product text NOT NULL, amount_cents int NOT NULL,
                         created_at timestamptz NOT NULL);
"""
INDEX = "CREATE INDEX ON orders (account_id, created_at DESC); ANALYZE;"

SUMMARIES_QUERY = """
    SELECT a.name, a.plan, a.revision, count(*) AS orders,
           sum(o.amount_cents)::bigint AS spent_cents,
           avg(o.amount_cents)::float8 AS mean_cents, max(o.created_at)::text AS last_order_at
    FROM accounts a JOIN orders o ON o.account_id = a.id
    WHERE a.id BETWEEN %s AND %s GROUP BY a.id ORDER BY a.id
"""


class Users:
    """The population: some far busier than others, by Zipf's law."""

    def __init__(self, count: int) -> None:
        self._everyone = range(count)
        self._weights = list(accumulate(1 / (i + 1) ** ZIPF_EXPONENT for i in range(count)))

    def draw(self, dice: random.Random, count: int) -> list[int]:
        """`count` users, each as often as their rank has it."""
        return dice.choices(self._everyone, cum_weights=self._weights, k=count)


def token(account: int) -> str:
    """The session token an account's user sends."""
    return f"{account:06d}-{account * 2654435761 % 2**32:08x}"


def session_key(account: int) -> str:
    """Where the session is kept."""
    return f"session:{token(account)}"


def session_value(account: int, revision: int) -> str:
    """A session, as JSON."""
    return json.dumps(
        {
            "account_id": account,
            "revision": revision,
            "role": ("member", "manager", "owner")[(account + revision) % 3],
            "locale": "en-GB",
            "time_zone": "Europe/Berlin",
            "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        }
    )


def permissions_key(account: int) -> str:
    """Where the permissions are kept."""
    return f"permissions:{account}"


def permissions_value(account: int, revision: int) -> list[str]:
    """The members of the set of permissions."""
    granted = random.Random(account * 1_000_003 + revision).sample(ALL_PERMISSIONS, GRANTED_COUNT)
    return ["dashboard:read", f"revision:{revision}", *granted]


def flags_value(revision: int) -> list[str]:
    """All feature flags: fields and values in turn, as HSET takes them."""
    dice = random.Random(revision)
    switched = ((f"feature-{i:02d}", dice.choice(("on", "off"))) for i in range(FLAG_COUNT))
    return ["revision", str(revision), *(word for pair in switched for word in pair)]


def summary_key(account: int) -> str:
    """Where the application keeps the account's figures."""
    return f"summary:{account}"


def put_permissions(pipeline: Pipeline, account: int, revision: int) -> None:
    """Queue the replacement of an account's permissions."""
    pipeline.delete(permissions_key(account))
    pipeline.sadd(permissions_key(account), *permissions_value(account, revision))


def summaries(database: psycopg.Connection, first: int, last: int) -> list[str]:
    """The figures of these accounts as the application keeps them, in order."""
    with database.cursor(row_factory=dict_row) as cursor:
        return [json.dumps(row) for row in cursor.execute(SUMMARIES_QUERY, (first, last))]


def fill(redis: Redis, database: psycopg.Connection, accounts: int) -> None:
    """Empty both stores and put the first revision of everything there.

    It is the state of an application long in service: what it keeps in Redis itself is there, and
    runs out at moments spread over the whole of its TTL.
    """
    with database.cursor() as cursor:
        cursor.execute(TABLES)
        with cursor.copy("COPY accounts FROM STDIN") as copy:
            for account in range(accounts):
                copy.write_row((account, f"Account {account}", "team", FIRST_REVISION))
        with cursor.copy(f"COPY orders ({ORDER_COLUMNS}) FROM STDIN") as copy:
            for row in _orders(accounts):
                copy.write_row(row)
        cursor.execute(INDEX)
    redis.flushall()
    dice = random.Random(accounts)
    pipeline = redis.pipeline(transaction=False)
    pipeline.hset("flags", items=flags_value(FIRST_REVISION))
    for account, summary in enumerate(summaries(database, 0, accounts - 1)):
        session = session_value(account, FIRST_REVISION)
        pipeline.set(session_key(account), session, ex=SESSION_TTL_S)
        put_permissions(pipeline, account, FIRST_REVISION)
        pipeline.set(summary_key(account), summary, ex=dice.randint(1, SUMMARY_TTL_S))
        if account % SEED_BATCH == 0:
            pipeline.execute()
    pipeline.execute()


def _orders(accounts: int) -> Iterator[tuple[int, str, int, str]]:
    dice = random.Random(accounts)
    for account in range(accounts):
        for _ in range(ORDERS_PER_ACCOUNT):
            day, second = dice.randrange(1, 29), dice.randrange(60)
            moment = f"2026-{dice.randrange(1, 10):02d}-{day:02d} 10:00:{second:02d}+00"
            yield account, f"Product {dice.randrange(400)}", dice.randrange(500, 90_000), moment
