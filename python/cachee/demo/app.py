"""A dashboard endpoint of the ordinary kind, on Redis and PostgreSQL.

It is started by `uvicorn app:app` and knows nothing of what runs it. Each request checks the
session, loads permissions and feature flags, counts against the rate limit, takes the account's
summary from Redis (or computes it and keeps it there), asks PostgreSQL for the latest orders and
serialises the answer. How long each stage took is told in the standard `Server-Timing` header.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from types import TracebackType
from typing import Annotated, Any, cast

import psycopg
from fastapi import FastAPI, Header, HTTPException, Response
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel
from redis.asyncio import Redis

RATE_LIMIT_PER_MINUTE = int(os.environ.get("RATE_LIMIT_PER_MINUTE", "600"))
SUMMARY_TTL_S = 3600
POOL_SIZE = 8

SUMMARY_QUERY = """
    SELECT a.name, a.plan, a.revision, count(*) AS orders,
           sum(o.amount_cents)::bigint AS spent_cents,
           avg(o.amount_cents)::float8 AS mean_cents, max(o.created_at)::text AS last_order_at
    FROM accounts a JOIN orders o ON o.account_id = a.id
    WHERE a.id = %s GROUP BY a.id
"""
LATEST_ORDERS_QUERY = """
    SELECT id, product, amount_cents, created_at FROM orders
    WHERE account_id = %s ORDER BY created_at DESC LIMIT 5
"""

redis: Redis = Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
database: AsyncConnectionPool[psycopg.AsyncConnection[DictRow]] = AsyncConnectionPool(
    os.environ["DATABASE_URL"],
    kwargs={"autocommit": True, "row_factory": dict_row},
    min_size=POOL_SIZE,
    max_size=POOL_SIZE,
    open=False,
)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Connect to PostgreSQL for as long as the application runs."""
    async with database:
        await database.wait()
        yield
    await redis.aclose()


app = FastAPI(lifespan=lifespan)


class Order(BaseModel):
    """One line of the table of latest orders."""

    id: int
    product: str
    amount_cents: int
    created_at: datetime


class Dashboard(BaseModel):
    """The answer."""

    session: dict[str, Any]
    permissions: list[str]
    flags: dict[str, str]
    summary: dict[str, Any]
    orders: list[Order]


class Stages:
    """How long each part of one request took."""

    def __init__(self) -> None:
        self._took_ns: dict[str, int] = {}
        self._name = ""
        self._since_ns = 0

    def __call__(self, name: str) -> Stages:
        """Name the stage that the `with` block is."""
        self._name = name
        return self

    def __enter__(self) -> None:
        self._since_ns = time.perf_counter_ns()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._took_ns[self._name] = time.perf_counter_ns() - self._since_ns

    def header(self) -> dict[str, str]:
        """The durations, in milliseconds, as the W3C's Server-Timing wants them."""
        parts = (f"{name};dur={took_ns / 1e6:.6f}" for name, took_ns in self._took_ns.items())
        return {"Server-Timing": ", ".join(parts)}


@app.get("/api/v1/dashboard")
async def dashboard(authorization: Annotated[str, Header()]) -> Response:
    """Everything the first page after the login shows."""
    stage = Stages()
    with stage("session"):
        session = await check_session(authorization.removeprefix("Bearer "))
    account_id = session["account_id"]
    with stage("permissions"):
        permissions = await load_permissions(account_id)
    with stage("flags"):
        flags = await load_flags()
    with stage("rate_limit"):
        await count_request(account_id)
    with stage("cached_query"):
        summary = await load_summary(account_id)
    with stage("direct_query"):
        orders = await load_latest_orders(account_id)
    with stage("serialisation"):
        body = Dashboard(
            session=session,
            permissions=sorted(permissions),
            flags=flags,
            summary=summary,
            orders=[Order(**order) for order in orders],
        ).model_dump_json()
    return Response(body, media_type="application/json", headers=stage.header())


async def check_session(token: str) -> dict[str, Any]:
    """The session of this token; 401 when there is none."""
    found = await redis.get(f"session:{token}")
    if found is None:
        raise HTTPException(401, "not signed in")
    session: dict[str, Any] = json.loads(found)
    return session


async def load_permissions(account_id: int) -> set[str]:
    """What this account may do; 403 when not even this."""
    permissions = cast("set[str]", await redis.smembers(f"permissions:{account_id}"))
    if "dashboard:read" not in permissions:
        raise HTTPException(403, "no permission")
    return permissions


async def load_flags() -> dict[str, str]:
    """The feature flags, the same for everybody."""
    return cast("dict[str, str]", await redis.hgetall("flags"))


async def count_request(account_id: int) -> None:
    """Count this request in the current minute; 429 when there were too many."""
    key = f"requests:{account_id}:{int(time.time() // 60)}"
    count = await redis.incr(key)
    if count == 1:
        await redis.expire(key, 60)
    if count > RATE_LIMIT_PER_MINUTE:
        raise HTTPException(429, "too many requests")


async def load_summary(account_id: int) -> dict[str, Any]:
    """The account's figures: kept in Redis, computed when they are not there."""
    key = f"summary:{account_id}"
    kept = await redis.get(key)
    if kept is not None:
        summary: dict[str, Any] = json.loads(kept)
        return summary
    async with database.connection() as connection:
        row = await (await connection.execute(SUMMARY_QUERY, (account_id,))).fetchone()
    if row is None:
        raise HTTPException(404, "no such account")
    # Only if still missing: whoever changed the account meanwhile has put newer figures there.
    await redis.set(key, json.dumps(row), ex=SUMMARY_TTL_S, nx=True)
    return row


async def load_latest_orders(account_id: int) -> list[DictRow]:
    """The five newest orders, straight from the database."""
    async with database.connection() as connection:
        return await (await connection.execute(LATEST_ORDERS_QUERY, (account_id,))).fetchall()
