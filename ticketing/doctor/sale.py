"""What is to be sold, what an outage has left, and whether the service that sells it is there."""

import json
from collections.abc import Iterable, Iterator, Sequence

from ticketing.config import Settings
from ticketing.doctor.asking import ask
from ticketing.doctor.finding import Finding, fail, ok, warn
from ticketing.model import EventState, SaleState
from ticketing.outage import outlook
from ticketing.outage.words import COMMAND
from ticketing.store.connection import Store
from ticketing.store.decisions import DecisionStore
from ticketing.store.events import EventStore
from ticketing.store.sale import Versions
from ticketing.telemetry.metrics import oldest_pending_s

RECEIPT_LATE_S = 60
NAMED_MOST = 5
SAID_OF_AWAY = 2  # the outlook's first sentences where the store is away, which is told already
DEMO_SEED = "python -m seeds --file events.json"


def states_of(store: Store) -> tuple[list[EventState], set[str]]:
    """Every event that can be read, and the ids of those that can't. Raises StoreError."""
    events = EventStore(store, Versions())
    ids = events.ids()
    states = events.read_sound(ids)
    return states, set(ids) - {state.event.event_id for state in states}


def events(states: Sequence[EventState], damaged: set[str]) -> Iterator[Finding]:
    """Whether each event can be sold as it was planned."""
    if not states and not damaged:
        yield fail("events", "there are none", "Nothing is on sale.", DEMO_SEED)
        return
    unfinished = [state for state in states if state.issued < state.planned]
    if damaged:
        yield fail(
            "events", f"{_named(damaged)} can't be read", "They are not sold.", "Put a backup of the store back."
        )
    if unfinished:
        told = _named(f"{s.event.event_id} ({s.issued:,} of {s.planned:,})" for s in unfinished)
        means = "Their seeding was cut short: they do not open, whatever the time is."
        yield fail("events", f"{told} have fewer tickets than planned", means, f"Run the seeding again: {DEMO_SEED}")
    if halted := [state.event.event_id for state in states if state.halted]:
        means = "The store has lost something of them: nothing of them is sold until somebody decides."
        yield fail("events", f"{_named(halted)} are halted", means, f"{COMMAND} show")
    if paused := [state.event.event_id for state in states if state.paused]:
        means = "They are not sold until somebody resumes them."
        yield warn("events", f"{_named(paused)} are paused", means, "python -m ticketing event resume EVENT_ID")
    in_state = {state.event.event_id: state.state(state.as_of_ms) for state in states}
    if closed := [event_id for event_id, now in in_state.items() if now is SaleState.CLOSED]:
        means = "Their sale is over."
        yield warn(
            "events", f"{_named(closed)} are closed", means, "Mend closes_at or starts_at in your file, and seed it."
        )
    counts = {now: list(in_state.values()).count(now) for now in SaleState}
    told = ", ".join(f"{count} {now.replace('_', ' ')}" for now, count in counts.items() if count)
    yield ok("events", f"{told}; {sum(state.remaining for state in states):,} tickets remain")


def receipts(states: Sequence[EventState]) -> Iterator[Finding]:
    """Receipts that were given up, or that wait too long."""
    failed = sum(state.receipts_failed for state in states)
    waits_s = oldest_pending_s(states)
    if failed:
        means = "Their buyers are told 503 receipt-failed; their purchases stand."
        yield warn("receipts", f"{failed:,} have failed", means, "python -m ticketing receipts retry")
    if waits_s > RECEIPT_LATE_S:
        found = f"one has waited for {waits_s:,.0f} s"
        yield warn(
            "receipts", found, "Nobody draws them, or not enough.", "Look at the receipt workers and the sweeper."
        )
    elif not failed:
        yield ok("receipts", "none has failed, none is late")


def leftovers(store: Store | None, settings: Settings, why_away: str = "") -> Iterator[Finding]:
    """What an outage has left on this host, and in the store. Raises JournalError."""
    found = outlook.look(settings.journal_dir, DecisionStore(store) if store else None, why_away)
    wrong = found.wrong()[SAID_OF_AWAY if found.standings is None else 0 :]
    for said in wrong:
        means = "Purchases of an earlier outage are not in Redis, or tickets of it are held back."
        do = f"{COMMAND} {said.verb}" if said.verb else f"{COMMAND} show"
        yield warn("earlier outages", said.text, means, do)
    if not wrong:
        yield ok("earlier outages", "nothing is left to settle or to decide")


def web(settings: Settings) -> Iterator[Finding]:
    """Whether the service answers on this host."""
    url = f"{settings.local_url}/health/ready"
    try:
        status, body = ask(url)
    except OSError:
        means, do = "It is not started yet, or listens elsewhere.", "make run, or docker compose up -d"
        yield warn("web", f"nobody answers at {settings.local_url}", means, do)
        return
    if status == 200:
        yield ok("web", f"{url} says it can sell")
    else:
        do = f"{settings.local_url}/health says what is wrong."
        yield fail("web", f"{url} says {status}: {_detail(body)}", "It runs, and sells nothing.", do)


def _detail(body: bytes) -> str:
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return "something that is not ours"


def _named(names: Iterable[str]) -> str:
    """Some of them, and how many more."""
    listed = sorted(names)
    more = len(listed) - NAMED_MOST
    return ", ".join(listed[:NAMED_MOST]) + (f" and {more:,} more" if more > 0 else "")
