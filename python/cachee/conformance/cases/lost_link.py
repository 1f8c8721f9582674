"""The connection that invalidations come on is lost, killed, silent, or away for a while."""

from __future__ import annotations

from cachee.conformance.case import case
from cachee.conformance.clients.client import Client
from cachee.conformance.stage import NEW, NEWER, OLD, Stage, shown, shown_error
from cachee.conformance.verdict import FailedError, NotApplicableError

# For an end of stream, which needs no time to be noticed.
NOTICED_S = 2.0
BACK_S = 20.0
ATTEMPTS = 7


@case("lost.cut", deadline_s=60)
def cut(stage: Stage) -> str:
    """A connection that ends takes the entries it covered with it.

    Rule: without the connection nobody tells of changes, so nothing it covered is served.
    Source: https://redis.io/docs/latest/develop/reference/client-side-caching/
    Forced: a foreign SET whose invalidation is held on its way; the connections that invalidations
        come on are closed and it is lost with them, so that reconnecting soon does not help.
    Checked: the new value within two seconds and the old one never again.
    """
    client = stage.open()
    stage.warm_value(client, "k", OLD)
    links = stage.links()
    for link in links:
        link.down.hold()
    before = stage.relay.invalidations
    stage.put(client, "k", NEW)
    lost = stage.await_push(before)
    for link in links:
        link.cut()
    told = stage.settles(lambda: client.get("k"), NEW, within_s=NOTICED_S, lost=True)
    return f"{len(links)} connection(s) closed, {'an' if lost else 'no'} invalidation lost; {told}"


@case("lost.killed-by-the-server", deadline_s=60)
def killed(stage: Stage) -> str:
    """The same when it is the server that closes the connection.

    Rule: as lost.cut; servers do it to slow clients (client-output-buffer-limit).
    Source: https://github.com/redis/redis-py/pull/4293
    Forced: CLIENT KILL of what has tracking on, and a foreign SET right behind it in one go.
    Checked: the new value within two seconds and the old one never again.
    """
    client = stage.open()
    stage.warm_value(client, "k", OLD)
    number = stage.server.kill_listeners("SET", client.server_key("k"), NEW)
    if not number:
        raise NotApplicableError("no connection of the client has tracking on")
    told = stage.settles(lambda: client.get("k"), NEW, within_s=NOTICED_S, lost=True)
    return f"{number} connection(s) killed; {told}"


@case("lost.reader-cut", deadline_s=60)
def reader_cut(stage: Stage) -> str:
    """When the connection that read a key ends, its entry is still kept right.

    Rule: a server that redirects invalidations forgets what a closed connection had read: read on
        the connection that is told, or drop what the closed one loaded.
    Source: https://github.com/redis/redis/issues/11767
    Forced: every connection but those that invalidations come on is closed; then a foreign SET.
    Checked: the new value within a second and the old one never again.
    """
    client = stage.open()
    stage.warm_value(client, "k", OLD)
    links = stage.links()
    readers = [each for each in stage.relay.connections if each not in links]
    if not readers:
        raise NotApplicableError("reads and invalidations share their connections")
    for reader in readers:
        reader.cut()
    stage.pause(0.2, "the server and the client notice")
    stage.put(client, "k", NEW)
    told = stage.settles(lambda: client.get("k"), NEW, lost=True)
    return f"{len(readers)} connection(s) closed; {told}"


@case("lost.silent", deadline_s=60)
def silent(stage: Stage) -> str:
    """A connection that says nothing any more is not trusted for longer than the client's bound.

    Rule: a half-open connection gives no sign; only asking, and a limit to the age of the answer,
        finds out.
    Source: https://redis.io/docs/latest/develop/reference/client-side-caching/
    Forced: everything on the connections that invalidations come on is swallowed, which stay open;
        then a foreign SET.
    Checked: the new value within the client's own bound (10 s where it states none) and a second.
    """
    client = stage.open()
    stage.warm_value(client, "k", OLD)
    for link in stage.links():
        link.up.black_hole()
        link.down.black_hole()
    stage.put(client, "k", NEW)
    bound_s = stage.adapter.silence_bound_s
    return stage.settles(lambda: client.get("k"), NEW, within_s=bound_s + 1.0, lost=True)


@case("lost.write-while-away", deadline_s=60)
def while_away(stage: Stage) -> str:
    """What changed while the client was away is seen once it is back.

    Rule: flush before the new connection serves; what happened in between was told to nobody.
    Source: https://github.com/valkey-io/valkey-glide/issues/3924
    Forced: all connections are closed and new ones refused; a foreign SET; then they are accepted.
    Checked: the new value within twenty seconds of being back, the old one never again, and the
        client caches again.
    """
    client = stage.open()
    stage.warm_value(client, "k", OLD)
    stage.relay.refuse()
    for connection in list(stage.relay.connections):
        connection.cut()
    stage.put(client, "k", NEW)
    stage.pause(0.3, "the server is away")
    stage.relay.refuse(False)
    told = stage.settles(lambda: client.get("k"), NEW, within_s=BACK_S, lost=True)
    return f"{told}; {_caches_again(stage, client)}"


@case("lost.filled-while-away", deadline_s=90)
def filled_while_away(stage: Stage) -> str:
    """What was read while no invalidation could come is not served once they come again.

    Rule: entries filled during the outage have no cover: do not store them, or flush after the
        subscription.
    Source: https://github.com/redis/go-redis/pull/3851
    Forced: the connection for invalidations is cut and every new one as soon as it asks for them;
        a cold key is read; a foreign SET; then they may come again.
    Checked: the new value within the client's own bound.
    """
    client = stage.open()
    stage.warm_value(client, "other", NEWER)
    stage.put(client, "k", OLD)
    links = stage.links()
    stage.relay.on_link = lambda connection: connection.cut()
    for link in links:
        link.cut()
    _read_without_cover(stage, client)
    stage.put(client, "k", NEW)
    stage.relay.on_link = None
    bound_s = stage.adapter.silence_bound_s
    return stage.settles(lambda: client.get("k"), NEW, within_s=bound_s, lost=True)


def _read_without_cover(stage: Stage, client: Client) -> None:
    for _ in range(5):
        value, error = stage.attempt(lambda: client.get("k"))
        if error is None and value != OLD:
            raise FailedError(f"{shown(value)} read while invalidations cannot come")
    if error is not None:
        raise NotApplicableError(f"reads need the same connections: {shown_error(error)}")


def _caches_again(stage: Stage, client: Client) -> str:
    for _ in range(ATTEMPTS):
        try:
            value = stage.warm(lambda: client.get("k"))
        except NotApplicableError:
            continue
        if value != NEW:
            raise FailedError(f"the first hit after the connection was lost is {value!r}")
        return "caches again"
    raise FailedError("nothing is cached any more since the connection was lost")
