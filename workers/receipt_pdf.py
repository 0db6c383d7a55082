"""PDF receipts: what a worker asks for. Keeps the stamps of the events that were drawn last.

What must stay true: the same bytes for the same purchase, event revision, signing key and RENDERER_VERSION, in any
process; every name and title is drawn, in whatever script; memory is bounded.
"""

import zlib
from collections import OrderedDict
from importlib.metadata import version

from ticketing.model import Contact, Event, Purchase
from ticketing.receipts.seal import Sealer
from workers.layout import EventFormat
from workers.stamp import Stamp, charset_of
from workers.wording import clean

DESIGN = 1  # rises with every change of this package that changes a receipt's bytes
_MAKERS = ("fpdf2", "uharfbuzz", "weblate-fonts", "zxing-cpp", "fonttools", "tzdata")
RENDERER_VERSION: str = "-".join([str(DESIGN), *map(version, _MAKERS), zlib.ZLIB_RUNTIME_VERSION])

STAMPS_MAX = 64
_USUAL_CHARSETS = (0, 1)  # of stamp.CHARSETS: ASCII, and Latin-1


class ReceiptRenderer:
    """Draws receipts. One object a process, used by one thread at a time."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._stamps: OrderedDict[tuple[Event, int], Stamp] = OrderedDict()

    def render(self, event: Event, purchase: Purchase, contact: Contact) -> bytes:
        """The whole PDF, a page a ticket. Raises ValueError for a purchase of another event."""
        holder = clean(contact.name)
        codes = [self._sealer.seal(event.event_id, ticket_id) for ticket_id in purchase.ticket_ids]
        return self._stamp(event, charset_of(holder) or 0).render(purchase, holder, codes)

    def prepare(self, event: Event) -> None:
        """Draws the stamps that most names need, so that processes forked after this find them."""
        for charset in _USUAL_CHARSETS:
            self._stamp(event, charset)

    def _stamp(self, event: Event, charset: int) -> Stamp:
        """The event's stamp for a class of characters: kept, or drawn now (50 to 100 ms)."""
        key = (event, charset)
        stamp = self._stamps.get(key)
        if stamp is None:
            stamp = self._stamps[key] = Stamp(EventFormat(event), charset)
            if len(self._stamps) > STAMPS_MAX:
                self._stamps.popitem(last=False)
        else:
            self._stamps.move_to_end(key)
        return stamp
