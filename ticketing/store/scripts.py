"""How a Lua script is run: read from its file beside this one, sent by its hash, sent whole where that is unknown.

What must stay true: several scripts go in one round trip; one script's error never hides another's reply; a script is
sent a second time only after NOSCRIPT, which proves that it did not run. What a script wrote is confirmed by replicas,
where they are to do so, unless it is harmless to lose it.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import redis

from ticketing.errors import StoreError
from ticketing.store.connection import Command, Store, error_of

FOLDER = Path(__file__).parent
READERS = frozenset({"state", "audit_confirm"})  # run also where writing is refused: out of memory, on a replica
# What these wrote may be lost with a primary: a sign of life comes again within seconds; a receipt is in the outbox
# again then, and is drawn once more. Not so receipts_begin, which hands out a purchase to be printed: it must not be
# one that is lost a moment later. And while nobody confirms, nothing is to be swept: each job would fail to begin, and
# burn a try of its receipts.
HARMLESS_IF_LOST = frozenset({"beat", "receipts_finish", "receipts_request", "receipts_retry"})
UNCONFIRMED = READERS | HARMLESS_IF_LOST


class Script(NamedTuple):
    """A script's text as the server gets it, and the hash that the server knows it by."""

    text: str
    sha: str


class Call(NamedTuple):
    """One run of a script: its name, its keys in the order of the script's header, its arguments."""

    name: str
    keys: Sequence[str]
    args: Sequence[str | int]


@cache
def load(name: str, shebang: bool) -> Script:
    """The script in `<name>.lua`, with the line that makes a real server refuse it before its first write, or none."""
    text = (FOLDER / f"{name}.lua").read_text(encoding="utf-8")
    if shebang:
        text = f"#!lua{' flags=no-writes' if name in READERS else ''}\n{text}"
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def run_all(store: Store, calls: Sequence[Call]) -> list[Any]:
    """Run every call in one round trip; each reply, or the StoreError that its script raised, in its place.

    Replicas have confirmed what the replies say, where they are to. Raises StoreRefused or OutcomeUnknown where that
    holds for all of the calls.
    """
    replies = _exchange(store, calls, _by_hash)
    unknown = [i for i, reply in enumerate(replies) if isinstance(reply, redis.exceptions.NoScriptError)]
    if unknown:
        again = _send_whole(store, [calls[i] for i in unknown])
        for i, reply in zip(unknown, again, strict=True):
            replies[i] = reply
    return [error if (error := error_of(reply)) is not None else reply for reply in replies]


def run(store: Store, name: str, keys: Sequence[str], args: Sequence[str | int]) -> Any:
    """Run one script. Raises StoreError."""
    reply = run_all(store, [Call(name, keys, args)])[0]
    if isinstance(reply, StoreError):
        raise reply
    return reply


def _send_whole(store: Store, calls: Sequence[Call]) -> list[Any]:
    """A failure stays with these calls: the others of the first round trip have their replies already."""
    try:
        return _exchange(store, calls, _whole)
    except StoreError as error:
        return [error] * len(calls)


def _exchange(store: Store, calls: Sequence[Call], command: Callable[[Call, bool], Command]) -> list[Any]:
    commands = [command(call, store.shebang) for call in calls]
    if all(call.name in UNCONFIRMED for call in calls):
        return store.exchange(commands)
    return store.exchange_confirmed(commands)


def _by_hash(call: Call, shebang: bool) -> Command:
    return ("EVALSHA", load(call.name, shebang).sha, len(call.keys), *call.keys, *call.args)


def _whole(call: Call, shebang: bool) -> Command:
    return ("EVAL", load(call.name, shebang).text, len(call.keys), *call.keys, *call.args)
