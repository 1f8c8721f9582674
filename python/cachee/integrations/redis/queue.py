"""What a pipeline has queued: which reads may be answered before it is sent, and what it changes.

A pipeline that is not a transaction promises only the order of its replies. So the reads before its
first command that may change something can be answered from the L1, and when nothing else is left
the pipeline is not sent at all. Reads after a write must see it and go with it.

A miss is fetched through the link only when the pipeline holds nothing but cacheable reads; then
the whole costs one round trip. When something must be sent anyway the misses go with it, because a
fetch before it would make two round trips of one.
"""

from __future__ import annotations

from typing import Any

from cachee import _core
from cachee.integrations.redis.commands import TRANSACTION_WORDS, Kind, split_name, words_of
from cachee.integrations.redis.replies import finish
from cachee.integrations.redis.views import View, kind_of_call

Queued = tuple[tuple[object, ...], dict[str, Any]]


class Queue:
    """The commands of one `execute()`, sorted into leading reads, later reads and effects."""

    def __init__(self, view: View, stack: list[Queued], *, plain: bool) -> None:
        self.view = view
        self.stack = stack
        self.leading: list[int] = []
        self.effects: list[tuple[object, ...]] = []
        self.reads: list[int] = []
        self.answers: dict[int, Any] = {}
        for index, (args, options) in enumerate(stack):
            kind = kind_of_call(args, options)
            if kind is Kind.CACHEABLE:
                self.reads.append(index)
                if plain and not self.effects:
                    if view.admitted(args):
                        self.leading.append(index)
                    elif view.binding is not None:
                        view.process.count_bypass("not_admitted")
            elif kind is Kind.STATE and words_of(args, 1)[0] not in TRANSACTION_WORDS:
                view.leave_plain_state(args)
                self.effects.append(split_name(args))
                self.leading.clear()
            elif kind is not Kind.HARMLESS:
                self.effects.append(split_name(args))

    @property
    def only_reads(self) -> bool:
        """Whether nothing would have to be sent if every leading read were answered."""
        return len(self.leading) == len(self.stack)

    def commands(self) -> list[tuple[object, ...]]:
        """The leading reads, as the binding takes them."""
        return [self.stack[index][0] for index in self.leading]

    def peek(self, binding: _core.Binding) -> list[object]:
        """What the L1 has of the leading reads; the others will be sent."""
        replies = []
        for args in self.commands():
            reply = binding.peek(args)
            if reply is _core.MISS:
                binding.record(args)
            replies.append(reply)
        return replies

    def answer(self, client: Any, replies: list[object]) -> None:
        """Take the replies to the leading reads; MISS stays to be sent."""
        for index, reply in zip(self.leading, replies, strict=True):
            if reply is not _core.MISS:
                args, options = self.stack[index]
                try:
                    self.answers[index] = finish(client, args, dict(options), reply)
                except self.view.flavour.response_error as error:
                    self.answers[index] = error

    def rest(self) -> list[Queued]:
        """What has to be sent."""
        return [call for index, call in enumerate(self.stack) if index not in self.answers]

    def merge(self, sent: list[Any]) -> list[Any]:
        """Answers and the replies to `rest`, in the order of the queue."""
        replies = iter(sent)
        return [
            self.answers[index] if index in self.answers else next(replies)
            for index in range(len(self.stack))
        ]

    def begin(self) -> int:
        """Announce what is about to be changed."""
        return self.view.begin_write(self.effects) if self.effects else 0

    def end(self, ticket: int) -> None:
        """It was answered, or failed."""
        if self.effects:
            self.view.end_write(ticket, self.effects)

    def settle(self) -> None:
        """After the replies: nothing older than a read that was just sent may be served.

        In mode observe the reads that might have been answered are scored instead.
        """
        scored = set(self.leading) if self.view.observe else set()
        for index in self.reads:
            if index in scored:
                self.view.score(self.stack[index][0])
            elif index not in self.answers:
                self.view.invalidate(self.stack[index][0])


__all__ = ["Queue"]
