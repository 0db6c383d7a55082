"""The use case: buy. Turns the store's reply to one purchase into the purchase, or into the refusal to tell the buyer.

What must stay true: a refusal is told only where no purchase of this id can exist or come to exist. So a keyed purchase
is never refused while tickets of its event are leased (another holder's journal may have it), and a purchase with an
unknown outcome is never refused, but unavailable; without a key it is voided as well, since nobody can ask again.
"""

import time
from collections.abc import Callable

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
    EventState,
    Outcome,
    PoolLevel,
    Purchase,
    PurchaseRequest,
    SaleReply,
    SaleState,
    parse_record,
)
from ticketing.outage.voids import Voids
from ticketing.sale.batch import SaleDesk
from ticketing.sale.catalogue import Catalogue
from ticketing.sale.identity import Identity, fingerprint
from ticketing.sale.sold_out import SoldOutMemory
from ticketing.store.sale import contact_text

BOUGHT = frozenset({Outcome.SOLD, Outcome.REPLAYED})
# Refusals that could hide a purchase which another holder has journalled under the same key.
DOUBTFUL_WHILE_LEASED = frozenset({Outcome.SOLD_OUT, Outcome.NOT_ON_SALE, Outcome.BUYER_LIMIT, Outcome.BAD_QUANTITY})


class Counter:
    """Where tickets are bought."""

    def __init__(
        self, identity: Identity, catalogue: Catalogue, desk: SaleDesk, sold_out: SoldOutMemory, voids: Voids
    ) -> None:
        self._identity = identity
        self._catalogue = catalogue
        self._desk = desk
        self._sold_out = sold_out
        self._voids = voids

    def buy(self, event_id: str, quantity: int, buyer: Buyer = NOBODY, key: str | None = None) -> Purchase:
        """The purchase, new or (with a key that was used before) as it stands.

        Raises a Refusal, BadQuantity or BadBuyer where nothing was sold, Unavailable where that is not known.
        """
        state = self._event(event_id)
        request = self._request(event_id, quantity, buyer, key)
        if (left := self._sold_out.left(request)) is not None:
            raise _too_few(request, left)
        reply, seed = self._ask(state, request)
        if reply.level is not None:
            self._sold_out.saw(event_id, reply.level, refused=reply.outcome is Outcome.SOLD_OUT)
        if reply.outcome in BOUGHT:
            return parse_record(request.purchase_id, reply.detail, replayed=reply.outcome is Outcome.REPLAYED)
        raise self._refusal(request, seed, reply)

    def quantity_max(self, event_id: str) -> int:
        """How many tickets one purchase of the event may have, as far as is known. Raises UnknownEvent, Unavailable."""
        return self._event(event_id).event.quantity_max

    def _event(self, event_id: str) -> EventState:
        try:
            state = self._catalogue.find(event_id)
        except StoreError as error:
            raise Unavailable(str(error)) from error
        if state is None:
            raise UnknownEvent(event_id)
        return state

    def _request(self, event_id: str, quantity: int, buyer: Buyer, key: str | None) -> PurchaseRequest:
        if key is None and self._voids.full:
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

    def _ask(self, state: EventState, request: PurchaseRequest) -> tuple[SaleReply, str]:
        """The reply that counts, and the seed it was asked under.

        Both replies that are asked again prove that the first script did nothing; the purchase id stays the same.
        """
        asked_at_s = time.monotonic()
        reply = self._ask_desk(state.seed, request)
        if reply.outcome is Outcome.EXPIRED:
            reply = self._ask_desk(state.seed, request)
        if reply.outcome is Outcome.NO_EVENT:
            try:
                now = self._catalogue.find_since(request.event_id, asked_at_s)
            except StoreError as error:
                return SaleReply(Outcome.REFUSED, str(error)), state.seed
            if now is None:
                raise UnknownEvent(request.event_id)
            return self._ask_desk(now.seed, request), now.seed
        return reply, state.seed

    def _ask_desk(self, seed: str, request: PurchaseRequest) -> SaleReply:
        """One try. Where the caller's greenlet is killed in it, at a stop say, nobody will tell the buyer: void it."""
        try:
            return self._desk.ask(seed, request)
        except BaseException:
            if not request.keyed:
                self._voids.add(request.event_id, seed, request.purchase_id)
            raise

    def _refusal(self, request: PurchaseRequest, seed: str, reply: SaleReply) -> TicketingError:
        if reply.outcome is Outcome.UNKNOWN and not request.keyed:
            self._voids.add(request.event_id, seed, request.purchase_id)
        level = reply.level
        if level is None:
            return PurchaseUnavailable(reply.detail or str(reply.outcome), keyed=request.keyed)
        if request.keyed and level.leased > 0 and reply.outcome in DOUBTFUL_WHILE_LEASED:
            return PurchaseUnavailable("tickets are leased: it may be in another process's journal", keyed=True)
        return REFUSALS[reply.outcome](request, reply, level)


def _too_few(request: PurchaseRequest, left: int) -> SoldOut | NotEnoughTickets:
    return NotEnoughTickets(request.quantity, left) if left > 0 else SoldOut(request.quantity)


# What the buyer is told of a reply that sold nothing for certain.
REFUSALS: dict[Outcome, Callable[[PurchaseRequest, SaleReply, PoolLevel], TicketingError]] = {
    Outcome.SOLD_OUT: lambda request, _, level: _too_few(request, level.left),
    Outcome.KEY_REUSED: lambda *_: KeyReused(),
    Outcome.VOIDED: lambda *_: KeyReused(),  # the key's id is barred for ever
    Outcome.NOT_ON_SALE: lambda _, reply, level: NotOnSale(
        reply.detail, level.opens_ms if reply.detail == SaleState.UPCOMING else None
    ),
    Outcome.BAD_QUANTITY: lambda _, __, level: BadQuantity(level.quantity_max),
    Outcome.BUYER_LIMIT: lambda _, reply, level: BuyerLimit(level.buyer_max, int(reply.detail)),
    Outcome.BUYER_REQUIRED: lambda *_: BadBuyer(Fault("/buyer/id", "is required: this event has a limit a buyer")),
    Outcome.EXPIRED: lambda request, *_: PurchaseUnavailable("the store was too slow twice", keyed=request.keyed),
}
