"""The choice between store and reserve, in one place: a purchase is sold from Redis while it answers, else from what
this process leased before, under the same id.

What must stay true: where the store may have sold a purchase, or may sell it yet, nobody is told that it is refused. It
is sold from the reserve (settling finds out that the two are one), or it is unavailable; if nobody can ask again, it is
voided before that is said, and if somebody can, it is said only when the store is too late to sell: told sooner, the
buyer could ask again, be refused, and the first script could sell after that.
"""

import time

import gevent

from ticketing.errors import PurchaseUnavailable, Unavailable
from ticketing.model import Outcome, PurchaseRequest, SaleReply
from ticketing.outage.keeper import Keeper
from ticketing.outage.lookback import Answered
from ticketing.sale.batch import SaleDesk

BOUGHT = frozenset({Outcome.SOLD, Outcome.REPLAYED})
IN_DOUBT = frozenset({Outcome.UNKNOWN, Outcome.NODE_FAILED})
NOT_ANSWERED = IN_DOUBT | {Outcome.REFUSED, Outcome.NODE_AWAY}


class Till:
    """Where a purchase is sold."""

    def __init__(self, desk: SaleDesk, keeper: Keeper, answered: Answered) -> None:
        self._desk = desk
        self._keeper = keeper
        self._answered = answered

    def ask(self, seed: str, request: PurchaseRequest) -> SaleReply:
        """What became of the purchase: the store's reply, or PROVISIONAL or KEY_REUSED from the reserve.

        Raises PurchaseUnavailable where neither could say.
        """
        if self._keeper.breaker.is_open:
            return self._ask_reserve(seed, request, in_doubt=False)
        reply = self._ask_desk(seed, request)
        if reply.outcome is Outcome.EXPIRED:  # it did nothing, since it came late; the id stays the same
            reply = self._ask_desk(seed, request)
        if reply.outcome in BOUGHT:
            sold_now = reply.outcome is Outcome.SOLD
            told = (request.event_id, seed, request.purchase_id, reply.detail, request.contact)
            self._answered.saw(*told, sold_now=sold_now)
        elif reply.outcome in NOT_ANSWERED:
            return self._ask_reserve(seed, request, in_doubt=reply.outcome in IN_DOUBT)
        elif reply.outcome is Outcome.SCRIPT_FAILED:
            self._keeper.void_unkeyed(seed, request)
        return reply

    def _ask_desk(self, seed: str, request: PurchaseRequest) -> SaleReply:
        """One try. Where the caller's greenlet is killed in it, at a stop say, nobody will tell the buyer: void it."""
        try:
            return self._desk.ask(seed, request)
        except BaseException:
            self._keeper.void_unkeyed(seed, request)
            raise

    def _ask_reserve(self, seed: str, request: PurchaseRequest, *, in_doubt: bool) -> SaleReply:
        try:
            reply = self._keeper.sell(seed, request, in_doubt=in_doubt)
        except Unavailable as error:
            if in_doubt and request.keyed:
                gevent.sleep(max(0.0, self._desk.too_late_s - time.monotonic()))
            raise PurchaseUnavailable(str(error), keyed=request.keyed) from error
        if in_doubt and reply.outcome is Outcome.KEY_REUSED:
            raise PurchaseUnavailable("it is not known yet what this key stands for", keyed=True)
        return reply
