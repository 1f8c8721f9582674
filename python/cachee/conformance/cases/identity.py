"""Who may share an entry with whom: databases, users, decodings."""

from __future__ import annotations

from cachee.conformance.case import case
from cachee.conformance.clients.client import Client
from cachee.conformance.server import USERS
from cachee.conformance.stage import NEW, OLD, Stage, shown
from cachee.conformance.verdict import FailedError, NotApplicableError

SECRET = "kit-secret"


@case("identity.databases")
def databases(stage: Stage) -> str:
    """Two clients of one process on two databases do not see each other's values.

    Rule: an entry belongs to its database.
    Source: https://github.com/valkey-io/valkey-glide/issues/3924
    Forced: one key with another value in each of two databases, proven hits of both.
    Checked: each client keeps reading its own, also after a write of one of them.
    """
    zero, one = stage.open(), stage.open(database=1)
    key = zero.server_key("k")
    stage.server.many([("SELECT", "1"), ("SET", key, NEW), ("SELECT", "0"), ("SET", key, OLD)])
    if stage.warm(lambda: zero.get("k")) != OLD or stage.warm(lambda: one.get("k")) != NEW:
        raise FailedError("a hit in one database has the value of the other")
    one.set("k", b"4")
    stage.must_be(lambda: zero.get("k"), OLD, "database 0 after a write in database 1")
    return stage.settles(lambda: one.get("k"), b"4", also=(NEW,))


@case("identity.selected-connection")
def selected(stage: Stage) -> str:
    """A connection on which SELECT was called reads the database it selected.

    Rule: whoever is not in plain state is not answered locally.
    Source: https://redis.io/docs/latest/commands/select/
    Forced: a proven hit in database 0; one connection selects database 1 and reads the key.
    Checked: it reads the value of database 1, three times.
    """
    client = stage.open()
    stage.server.many([("SELECT", "1"), ("SET", client.server_key("k"), NEW), ("SELECT", "0")])
    stage.warm_value(client, "k", OLD)
    commands = [("SELECT", "1"), ("GET", "k"), ("GET", "k"), ("GET", "k"), ("SELECT", "0")]
    found = client.on_one_connection(commands)[1:4]
    if found != [NEW] * 3:
        raise FailedError(f"after SELECT 1 the reads gave {shown(found)}")
    return "three reads of the selected database"


@case("identity.users")
def users(stage: Stage) -> str:
    """What one user has cached is not given to another who may not read it.

    Rule: an entry belongs to the user who read it.
    Source: https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/
    Forced: two users of the server, one of whom may not read the key the other has a hit of.
    Checked: that one is refused by the server, while the first one's hit stays.
    """
    alice, bob = _users(stage)
    stage.warm_value(alice, "secret", OLD)
    stage.warm_value(bob, "public", NEW)
    for _ in range(3):
        error = _refusal(bob)
        if error is None or "permission" not in error.lower():
            raise FailedError(f"a user without the right to read got {error or shown(OLD)}")
        stage.must_be(lambda: alice.get("secret"), OLD, "the user with the right")
    return "refused by the server while the other user has hits"


def _refusal(client: Client) -> str | None:
    try:
        client.get("secret")
    except Exception as error:  # noqa: BLE001 - every library has its own
        return f"{error} {error.__cause__ or ''}"
    return None


def _users(stage: Stage) -> tuple[Client, Client]:
    rules = {USERS[0]: "~*", USERS[1]: "~*public"}
    for user, keys in rules.items():
        words = ("reset", "on", f">{SECRET}", keys, "&*", "+@all")
        stage.server.call("ACL", "SETUSER", user, *words)
    first, second = (stage.open(username=user, password=SECRET) for user in USERS)
    return first, second


@case("identity.wrong-password")
def wrong_password(stage: Stage) -> str:
    """Who has the wrong password gets no hit of those who have the right one.

    Rule: nothing is answered before the server accepted the credentials.
    Source: https://redis.io/docs/latest/commands/auth/
    Forced: a proven hit of a user, then a client of the same user with another password.
    Checked: its reads end in an error.
    """
    alice, _ = _users(stage)
    stage.warm_value(alice, "secret", OLD)
    try:
        thief = stage.open(username=USERS[0], password="guess")
    except Exception as error:  # noqa: BLE001 - refused on opening, as it should be
        return f"refused on opening: {type(error).__name__}"
    for _ in range(3):
        if _refusal(thief) is None:
            raise FailedError("a client with the wrong password was given the value")
    return "three reads refused"


@case("identity.deleted-user", deadline_s=60)
def deleted_user(stage: Stage) -> str:
    """A user who was deleted gets no more hits.

    Rule: the server closes a deleted user's connections, and with them their entries go.
    Source: https://redis.io/docs/latest/commands/acl-deluser/
    Forced: a proven hit of a user, then ACL DELUSER.
    Checked: reads end in an error within the client's own bound.
    """
    alice, _ = _users(stage)
    stage.warm_value(alice, "secret", OLD)
    stage.server.call("ACL", "DELUSER", USERS[0])
    refused = stage.within(lambda: _refusal(alice) is not None, stage.adapter.silence_bound_s + 1.0)
    if refused is None:
        bound_s = stage.adapter.silence_bound_s + 1.0
        raise FailedError(f"a deleted user still gets the value after {bound_s:.0f} s")
    if _refusal(alice) is None:
        raise FailedError("a deleted user was refused once and then answered again")
    return f"refused after {refused * 1000:.0f} ms"


@case("identity.decodings")
def decodings(stage: Stage) -> str:
    """Clients that decode and clients that do not share no replies.

    Rule: an entry belongs to the way its reply was decoded.
    Source: https://redis.readthedocs.io/en/stable/examples/set_and_get_examples.html
    Forced: two clients of one process, one with decoded replies; proven hits of both.
    Checked: each keeps its own type.
    """
    plain, decoded = stage.open(), stage.open(decode=True)
    try:
        decoded.get_decoded("other")
        plain.get_decoded("other")
    except NotApplicableError:
        raise NotApplicableError("the client has no decoded replies") from None
    stage.put(plain, "k", OLD)
    found = []
    for _ in range(3):
        found.append(stage.warm(lambda: plain.get_decoded("k")))
        found.append(stage.warm(lambda: decoded.get_decoded("k")))
    if found != [OLD, OLD.decode()] * 3:
        raise FailedError(f"read in turn: {shown(found)}")
    return "bytes and text, each its own"
