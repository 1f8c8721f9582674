"""Whether there is a cache at all: without a hit nothing else can be said."""

from __future__ import annotations

from cachee.conformance.case import case
from cachee.conformance.stage import NEW, OLD, Stage
from cachee.conformance.verdict import FailedError, NotApplicableError


@case("hits.second-read")
def second_read(stage: Stage) -> str:
    """A second read of a key is answered without the server.

    Rule: a cache that never answers has no defects; every other case proves this first.
    Source: https://redis.io/docs/latest/develop/reference/client-side-caching/
    Forced: nothing.
    Checked: the server's own counters of commands stand still while a read returns the value.
    """
    client = stage.open()
    stage.warm_value(client, "k", OLD)
    local = sum(stage.read(lambda: client.get("k"))[1] for _ in range(20))
    if local < 18:
        raise FailedError(f"only {local} of 20 further reads were answered locally")
    return f"{local} of 20 further reads while the server executed nothing"


@case("hits.foreign-write")
def foreign_write(stage: Stage) -> str:
    """A write of somebody else is seen, and the new value is cached in turn.

    Rule: the server tells of every change of a key that was read.
    Source: https://redis.io/docs/latest/develop/reference/client-side-caching/
    Forced: a proven hit, then a SET on a connection of the kit's own.
    Checked: the new value within a second, the old one never again, then a proven hit of the new.
    """
    client = stage.open()
    stage.warm_value(client, "k", OLD)
    stage.put(client, "k", NEW)
    told = stage.settles(lambda: client.get("k"), NEW)
    if stage.warm(lambda: client.get("k")) != NEW:
        raise FailedError("the hit after the change has another value")
    return told


@case("hits.missing-key")
def missing_key(stage: Stage) -> str:
    """A key that was read as missing is seen once somebody makes it.

    Rule: the server also tells of keys that did not exist, so their absence may be cached.
    Source: https://redis.io/docs/latest/develop/reference/client-side-caching/
    Forced: a proven hit of the absence, then a foreign SET.
    Checked: the value within a second.
    """
    client = stage.open()
    stage.warm_value(client, "other", OLD)
    try:
        absent = stage.warm(lambda: client.get("k"), "GET of a missing key")
    except NotApplicableError as no_cache:
        raise NotApplicableError("the absence of a key is not cached") from no_cache
    if absent is not None:
        raise FailedError(f"a missing key is read as {absent!r}")
    stage.put(client, "k", NEW)
    return stage.settles(lambda: client.get("k"), NEW, also=(None,))


@case("hits.text-and-bytes")
def text_and_bytes(stage: Stage) -> str:
    """A key given as text and as bytes is one key.

    Rule: entries are found by the key the server knows, however the caller spells it.
    Source: https://github.com/redis/redis-py/issues/3916 (its cache keeps two entries)
    Forced: a proven hit by bytes, a read by text, a foreign SET.
    Checked: the read by text is local, and both read the new value within a second.
    """
    client = stage.open()
    stage.put(client, "k", OLD)
    stage.warm(lambda: client.get_by_bytes("k"), "GET by a key of bytes")
    if not stage.read(lambda: client.get("k"))[1]:
        raise FailedError("read by bytes, then asked for again by text: two entries for one key")
    stage.put(client, "k", NEW)
    stage.settles(lambda: client.get_by_bytes("k"), NEW)
    return stage.settles(lambda: client.get("k"), NEW)


@case("hits.several-keys")
def several_keys(stage: Stage) -> str:
    """A reply made of several keys changes with each of them.

    Rule: a cached MGET depends on every key it names.
    Source: https://redis.io/docs/latest/develop/reference/client-side-caching/
    Forced: a proven hit of MGET, then a foreign SET of its last key.
    Checked: the new list within a second.
    """
    client = stage.open()
    keys = ["a", "b", "c"]
    for key in keys:
        stage.put(client, key, OLD)
    stage.warm(lambda: client.mget(keys), "MGET")
    stage.put(client, "c", NEW)
    return stage.settles(lambda: client.mget(keys), [OLD, OLD, NEW], also=([OLD] * 3,))
