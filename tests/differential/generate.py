"""From a seed to the steps of an episode.

An episode begins with an empty server and new connections, so that it can be repeated alone and
shrunk. Its steps are commands one by one, pipelines of up to 64, and scenes: the sequences that
have a state (MULTI, WATCH, subscriptions, RESP versions, users). Most commands are reads drawn from
a small hot set; the rest is the whole command table, much of which closes the L1 for a round trip
because its effects are not known. So half of the episodes are calm: hot reads almost only, and
commands with keys between them, so that the L1 answers whole pipelines.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.differential import pools, scenes
from tests.differential.exclusions import FRAMES_UNKNOWN, NEVER_SENT
from tests.differential.grammar import Command, fields, wrong
from tests.differential.steps import Step
from tests.differential.templates import ALL, REPLACED, Variant
from tests.harness.servers import Server

PIPELINE = 64
HOT_READS = 40
HOT_SHARE, HOT_SHARE_CALM = 0.6, 0.985
SCENES_CALM = 0.01
_NUMERIC_OPTIONS_BLOCK = ("b", "wait", "xread", "debug", "lcs", "cluster")


@dataclass(frozen=True)
class Mode:
    """How the steps of one episode are sent."""

    connections: int
    pipelined: bool
    calm: bool
    inline: bool
    fragments: bool

    def __str__(self) -> str:
        words = [f"{self.connections} connection{'s' if self.connections > 1 else ''}"]
        words.append("pipelined" if self.pipelined else "one by one")
        words += [word for word in ("calm", "inline", "fragments") if getattr(self, word)]
        return ", ".join(words)


class Table:
    """Every command of a server that can be made, by grammar or variant."""

    def __init__(self, server: Server):
        docs = fields(server.call("COMMAND", "DOCS"))
        flags = {info[0].decode(): info[2] for info in server.call("COMMAND")}  # type: ignore[union-attr]
        self.commands: list[Command] = []
        self.known: set[str] = set()
        for name, doc in sorted(docs.items(), key=lambda item: item[0]):
            whole = fields(doc)
            subs = fields(whole.get("subcommands", []))
            parts = {sub: fields(doc) for sub, doc in subs.items()}
            for each, its in (parts or {name: whole}).items():
                self.known.add(each)
                if not ({each, name} & NEVER_SENT.keys() or name in REPLACED):
                    self.commands.append(Command(each, its, b"readonly" in flags.get(name, [])))
        self.reads = [each for each in self.commands if each.readonly and each.keyed]

    @property
    def covered(self) -> set[str]:
        """The names that are made, scenes included."""
        made = {each.name for each in self.commands}
        for variant in ALL:
            made |= {variant.name, variant.name.partition("|")[0]}
        return (made | scenes.COMMANDS) & self.known


class Generator:
    """The steps of one seed."""

    def __init__(self, table: Table, seed: int, protocol: int):
        self._table, self._choice, self._protocol = table, random.Random(seed), protocol
        self._all: list[Command | Variant] = [*table.commands, *table.commands, *ALL]
        self._keyed: list[Command | Variant] = [each for each in table.commands if each.keyed]
        self._hot: list[list[bytes]] = []
        self._calm = False

    def mode(self) -> Mode:
        """How the next episode is sent."""
        choice = self._choice
        return Mode(
            connections=choice.choice((1, 1, 3)),
            pipelined=choice.random() < 0.75,
            calm=choice.random() < 0.5,
            inline=choice.random() < 0.15,
            fragments=choice.random() < 0.15,
        )

    def episode(self, mode: Mode, commands: int) -> Iterator[Step]:
        """Steps with about that many commands."""
        self._calm = mode.calm
        self._hot = [
            choice_of.make(self._choice)
            for choice_of in self._choice.choices(self._table.reads, k=HOT_READS)
        ]
        yield from _reset(self._choice)
        made = 0
        while made < commands:
            for step in self._next(mode):
                made += len(step.commands)
                yield self._dressed(step, mode)

    def _next(self, mode: Mode) -> Iterator[Step]:
        choice, at = self._choice, self._choice.randrange(mode.connections)
        if choice.random() < (0.08 if mode.pipelined and not mode.calm else SCENES_CALM):
            other = (at + 1) % mode.connections
            yield from choice.choice(scenes.ALL)(choice, self._protocol, at, other, self.one)
        elif mode.pipelined:
            size = choice.choice((2, 5, 16, PIPELINE, PIPELINE, PIPELINE))
            yield Step(at, [self.one() for _ in range(size)])
        else:
            yield Step(at, [self.one()], frames=1)

    def _dressed(self, step: Step, mode: Mode) -> Step:
        seed = self._choice.getrandbits(32)
        return replace(
            step,
            inline=mode.inline and self._choice.random() < 0.5,
            fragments=seed if mode.fragments else 0,
        )

    def one(self) -> list[bytes]:
        """One command with one reply that leaves the connection in plain state."""
        choice = self._choice
        if choice.random() < (HOT_SHARE_CALM if self._calm else HOT_SHARE):
            return self._hot[min(int(choice.expovariate(0.12)), HOT_READS - 1)]
        maker = choice.choice(self._keyed if self._calm else self._all)
        words = maker.make(choice)
        if choice.random() < 0.1 and isinstance(maker, Command) and not _dangerous(maker.name):
            words = wrong(choice, words)
        return words


def _dangerous(name: str) -> bool:
    """A mistake in these could wait for ever, or be one of the commands never sent."""
    return name.startswith(_NUMERIC_OPTIONS_BLOCK) or name in FRAMES_UNKNOWN


def _reset(choice: random.Random) -> Iterator[Step]:
    """The same beginning for both twins, whatever the episode before has left."""
    words = b"FLUSHALL|FUNCTION FLUSH|SCRIPT FLUSH|ACL DELUSER u1 u2".split(b"|")
    yield Step(0, [each.split() for each in words])
    fill: list[list[bytes]] = []
    for at in b"012":
        key = bytes([at])
        fill += [
            [b"SET", b"str:" + key, choice.choice(pools.VALUES)],
            [b"SET", b"num:" + key, choice.choice(pools.NUMBERS)],
            [b"SETBIT", b"bits:" + key, b"77", b"1"],
            [b"RPUSH", b"list:" + key, *choice.choices(pools.MEMBERS, k=5)],
            [b"SADD", b"set:" + key, *choice.choices(pools.MEMBERS, k=6)],
            [b"SADD", b"ints:" + key, b"1", b"2", b"30"],
            [b"ZADD", b"zset:" + key, b"1", b"m1", b"2", b"m2", b"2", b"m3", b"-inf", b"m4"],
            [b"HSET", b"hash:" + key, b"m1", b"1", b"m2", b"v" * 40, b"3", b"0.5"],
            [b"XADD", b"stream:" + key, b"1-1", b"m1", b"a"],
            [b"XADD", b"stream:" + key, b"2-0", b"m1", b"b", b"m2", b"c"],
            [b"XGROUP", b"CREATE", b"stream:" + key, b"g1", b"0"],
            [b"GEOADD", b"geo:" + key, b"13.361389", b"38.115556", b"m1"],
            [b"GEOADD", b"geo:" + key, b"15.087269", b"37.502669", b"m2"],
            [b"PFADD", b"hll:" + key, *pools.MEMBERS[:5]],
        ]
    yield Step(0, fill)
