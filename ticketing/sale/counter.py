"""The use case: buy. Turns the store's reply to one purchase into the purchase, or into the refusal to tell the buyer.

What must stay true: a refusal is told only where no purchase of this id can exist or come to exist. So a keyed purchase
is never refused while tickets of its event are leased (another holder's journal may have it); till.py sees to it that
none is refused whose outcome is unknown.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

from ticketing.errors import (
    BadBuyer,
    BadQuantity,
    BuyerLimit,
    Fault,
    KeyReused,
    NotEnoughTickets,
    NotOnSale,
    PurchaseUnavailable,
    SoldOut,
    StoreError,
    TicketingError,
    Unavailable,
    UnknownEvent,
)
from ticketing.model import (
    NOBODY,
    Buyer,
    Contact,
    Outcome,
    PoolLevel,
    Purchase,
    PurchaseRequest,
    SaleReply,
    SaleState,
    parse_record,
)
from ticketing.outage.keeper import Keeper
from ticketing.sale.catalogue import Catalogue
from ticketing.sale.give_backs import GiveBacks
from ticketing.sale.identity import Identity, fingerprint
from ticketing.sale.sold_out import SoldOutMemory
from ticketing.sale.till import BOUGHT, Till
from ticketing.store.sale import contact_text

# Refusals that could hide a purchase which another holder has journalled under the same key.
DOUBTFUL_WHILE_LEASED = frozenset({Outcome.SOLD_OUT, Outcome.NOT_ON_SALE, Outcome.BUYER_LIMIT})


class Terms(NamedTuple):
    """What has to be known of an event to ask for its tickets."""

    seed: str
    quantity_max: int


class Counter:
    """Where tickets are bought."""

    def __init__(
        self, identity: Identity, catalogue: Catalogue, till: Till, keeper: Keeper, sold_out: SoldOutMemory
    ) -> None:
        self._identity = identity
        self._catalogue = catalogue
        self._till = till
        self._keeper = keeper
        self._sold_out = sold_out
        self._give_backs = GiveBacks(keeper.look_now)

    def buy(self, event_id: str, quantity: int, buyer: Buyer = NOBODY, key: str | None = None) -> Purchase:
        """The purchase, new or (with a key that was used before) as it stands.

        Raises a Refusal, BadQuantity or BadBuyer where nothing was sold, Unavailable where that is not known.
        """
        if (left := self._sold_out.left(event_id, quantity, keyed=key is not None)) is not None:
            raise _too_few(quantity, left)  # before all else: the crowd that comes too late should cost the least
        terms = self._terms(event_id)
        request = self._request(event_id, quantity, buyer, key)
        reply = self._ask(terms.seed, request)
        reply = self._give_backs.await_for(event_id, reply, lambda: self._ask(terms.seed, request))
        if reply.level is not None:
            self._sold_out.saw(event_id, reply.level, refused=reply.outcome is Outcome.SOLD_OUT)
        if reply.outcome in BOUGHT:
            return parse_record(request.purchase_id, reply.detail, replayed=reply.outcome is Outcome.REPLAYED)
        if reply.outcome is Outcome.PROVISIONAL:
            return _provisional(request, reply)
        raise self._refusal(request, reply)

    def is_sold_out(self, event_id: str) -> bool:
        """Whether `buy` would raise SoldOut at once where no key is given. Raising it costs as much as all else."""
        return self._sold_out.left(event_id, 1, keyed=False) == 0

    def quantity_max(self, event_id: str) -> int:
        """How many tickets one purchase of the event may have, as far as is known. Raises UnknownEvent, Unavailable."""
        return self._terms(event_id).quantity_max

    def _terms(self, event_id: str) -> Terms:
        """As the store said last, or the journal of this host where the store was never there to say."""
        try:
            state = self._catalogue.find(event_id)
        except StoreError as error:
            if (journalled := self._keeper.terms(event_id)) is not None:
                return Terms(*journalled)
            raise Unavailable(str(error)) from error
        if state is None:
            raise self._no_event(event_id)
        return Terms(state.seed, state.event.quantity_max)

    def _no_event(self, event_id: str) -> TicketingError:
        """An event that this host has seen and the store has not was lost with it: that is no answer for a buyer."""
        if self._keeper.terms(event_id) is None:
            return UnknownEvent(event_id)
        self._keeper.look_now()
        return Unavailable("the store does not know this event any more")

    def _request(self, event_id: str, quantity: int, buyer: Buyer, key: str | None) -> PurchaseRequest:
        if key is None and self._keeper.is_full:
            raise PurchaseUnavailable("too many purchases of unknown outcome", keyed=False)
        identity = self._identity
        return PurchaseRequest(
            identity.new_purchase_id(event_id) if key is None else identity.purchase_id_of_key(event_id, key),
            event_id,
            quantity,
            fingerprint(quantity, buyer),
            identity.buyer_tag(event_id, buyer.buyer_id),
            contact_text(Contact(buyer.name, buyer.email)),
            key is not None,
        )

    def _ask(self, seed: str, request: PurchaseRequest) -> SaleReply:
        """The reply that counts. NO_EVENT proves that nothing was done: the event may have been replaced."""
        asked_at_s = time.monotonic()
        reply = self._till.ask(seed, request)
        if reply.outcome is not Outcome.NO_EVENT:
            return reply
        try:
            now = self._catalogue.find_since(request.event_id, asked_at_s)
        except StoreError as error:
            raise PurchaseUnavailable(str(error), keyed=request.keyed) from error
        if now is None:
            raise self._no_event(request.event_id)
        return self._till.ask(now.seed, request)

    def _refusal(self, request: PurchaseRequest, reply: SaleReply) -> TicketingError:
        if reply.outcome is Outcome.KEY_REUSED:
            return KeyReused()
        level = reply.level
        if level is None:  # halted, gone back, failed within: the keeper finds out, and an operator decides
            if reply.outcome is Outcome.WENT_BACK:
                self._keeper.doubt()
            else:
                self._keeper.look_now()
            return PurchaseUnavailable(reply.detail or str(reply.outcome), keyed=request.keyed)
        if request.keyed and level.leased > 0 and _may_hide_a_purchase(request, reply):
            return PurchaseUnavailable("tickets are leased: it may be in another process's journal", keyed=True)
        return REFUSALS[reply.outcome](request, reply, level)


def _may_hide_a_purchase(request: PurchaseRequest, reply: SaleReply) -> bool:
    """Whether another holder could have sold what is refused here. Nobody sold more than the event ever allowed."""
    if reply.outcome is Outcome.BAD_QUANTITY:
        return request.quantity <= int(reply.detail)
    return reply.outcome in DOUBTFUL_WHILE_LEASED


def _provisional(request: PurchaseRequest, reply: SaleReply) -> Purchase:
    return Purchase(
        request.purchase_id,
        request.event_id,
        request.fingerprint,
        int(reply.detail),
        request.quantity,
        buyer_tag=request.buyer_tag,
        replayed=reply.replayed,
    )


def _too_few(quantity: int, left: int) -> SoldOut | NotEnoughTickets:
    return NotEnoughTickets(quantity, left) if left > 0 else SoldOut(quantity)


# What the buyer is told of a reply that sold nothing for certain.
REFUSALS: dict[Outcome, Callable[[PurchaseRequest, SaleReply, PoolLevel], TicketingError]] = {
    Outcome.SOLD_OUT: lambda request, _, level: _too_few(request.quantity, level.left),
    Outcome.VOIDED: lambda *_: KeyReused(),  # the key's id is barred for ever
    Outcome.NOT_ON_SALE: lambda _, reply, level: NotOnSale(
        reply.detail, level.opens_ms if reply.detail == SaleState.UPCOMING else None
    ),
    Outcome.BAD_QUANTITY: lambda _, __, level: BadQuantity(level.quantity_max),
    Outcome.BUYER_LIMIT: lambda _, reply, level: BuyerLimit(level.buyer_max, int(reply.detail)),
    Outcome.BUYER_REQUIRED: lambda *_: BadBuyer(Fault("/buyer/id", "is required: this event has a limit a buyer")),
    Outcome.EXPIRED: lambda request, *_: PurchaseUnavailable("the store was too slow twice", keyed=request.keyed),
}
