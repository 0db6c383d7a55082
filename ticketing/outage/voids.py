"""Purchases that were answered 503 while nobody knows whether the store sold them, and that nobody can ask for again.

What must stay true: each of these ids ends up holding no ticket, even if the script that would sell it comes late
(void.lua bars it). Until the journal comes, the intents live in this process's memory: a SIGKILL before they are
written loses them, which is why `full` stops such purchases from being sent at all when there are too many.
"""

from collections import defaultdict
from collections.abc import Callable

import gevent
from gevent.event import Event as Signal
from loguru import logger

from ticketing.errors import StoreError
from ticketing.model import Outcome
from ticketing.store.sale import SaleStore

MOST = 100_000
AT_ONCE = 200
AGAIN_AFTER_S = 0.5
KINDS_SAID = 100


class Voids:
    """The void intents of this process."""

    def __init__(self, store: SaleStore, on_voided: Callable[[list[str]], None] = lambda _: None) -> None:
        """`on_voided` gets the ids that were sold and hold nothing now: whatever else there is of them must go."""
        self._store = store
        self._on_voided = on_voided
        self._said: set[str] = set()  # kinds of failures that were logged
        self._waiting: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
        self._wake = Signal()
        self._worker: gevent.Greenlet[..., None] | None = None

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    @property
    def full(self) -> bool:
        """Whether no more intents can be kept: then no purchase may be sent that could need one."""
        return len(self) >= MOST

    def add(self, event_id: str, seed: str, purchase_id: str) -> None:
        """This id will hold no ticket."""
        self._waiting[event_id, seed][purchase_id] = None
        self._wake.set()

    def start(self) -> None:
        """From now on intents are carried out as soon as the store answers."""
        if self._worker is None:
            self._worker = gevent.spawn(self._run)

    def stop(self) -> None:
        """Carry out what is left, if the store answers now; say loudly what is not."""
        if self._worker is not None:
            self._worker.kill()
            self._worker = None
        if len(self) and not self._carry_out_all():
            logger.error("stopped with {} purchases of unknown outcome that could not be voided", len(self))

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while not self._carry_out_all():
                gevent.sleep(AGAIN_AFTER_S)

    def _carry_out_all(self) -> bool:
        """Whether nothing is left to be done. An event that can't be voided of now keeps no other waiting."""
        for sale in list(self._waiting):
            try:
                self._carry_out_sale(*sale)
            except StoreError:
                # Most likely the store is away, and the others would wait for nothing. Next time they come first.
                self._rotate(sale)
                return False
            except Exception as error:  # whatever is wrong with this sale, the others' tickets must come back
                self._say_failed(sale[0], error)
                self._rotate(sale)
        return not self._waiting

    def _rotate(self, sale: tuple[str, str]) -> None:
        if sale in self._waiting:
            self._waiting[sale] = self._waiting.pop(sale)

    def _say_failed(self, event_id: str, error: Exception) -> None:
        kind = f"{type(error).__name__}: {error}"
        if kind not in self._said and len(self._said) < KINDS_SAID:
            self._said.add(kind)
            logger.opt(exception=error).error(
                "event {}: an error in voiding; what is not voided is tried again", event_id
            )

    def _carry_out_sale(self, event_id: str, seed: str) -> None:
        """As far as the event is not halted."""
        ids = list(self._waiting.get((event_id, seed), ()))
        for first in range(0, len(ids), AT_ONCE):
            purchase_ids = ids[first : first + AT_ONCE]
            reply = self._store.void(event_id, seed, purchase_ids)
            if reply in (Outcome.WENT_BACK, Outcome.HALTED):  # no set: a reply may be a list
                return
            self._forget(event_id, seed, purchase_ids)
            if isinstance(reply, list):
                voided, barred = reply.count("voided"), reply.count("barred")
                logger.info("event {}: {} purchases voided, {} barred", event_id, voided, barred)
                # "already": the reply that said "voided" was lost, perhaps.
                gone = [one for one, tag in zip(purchase_ids, reply, strict=True) if tag in ("voided", "already")]
                if gone:
                    self._on_voided(gone)

    def _forget(self, event_id: str, seed: str, purchase_ids: list[str]) -> None:
        waiting = self._waiting[event_id, seed]
        for purchase_id in purchase_ids:
            waiting.pop(purchase_id, None)
        if not waiting:
            del self._waiting[event_id, seed]
