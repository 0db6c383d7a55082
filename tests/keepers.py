"""A stand-in for the keeper, for tests of what sells: it has what a test gives it, and notes what it was asked.

What must stay true: like the real one, it voids what is in doubt, unkeyed and not sold from the reserve.
"""

from dataclasses import dataclass, field

from ticketing.errors import Unavailable
from ticketing.model import PurchaseRequest, SaleReply


@dataclass
class FakeBreaker:
    is_open: bool = False


@dataclass
class FakeKeeper:
    """Without a `reserve` reply it has no reserve."""

    reserve: SaleReply | None = None
    known: tuple[str, int] | None = None
    is_full: bool = False
    breaker: FakeBreaker = field(default_factory=FakeBreaker)
    asked: list[tuple[str, PurchaseRequest, bool]] = field(default_factory=list)  # seed, request, in doubt
    voided: list[tuple[str, str, str]] = field(default_factory=list)  # event id, seed, purchase id
    failures: list[str] = field(default_factory=list)
    looks: int = 0

    def sell(self, seed: str, request: PurchaseRequest, *, in_doubt: bool) -> SaleReply:
        self.asked.append((seed, request, in_doubt))
        if self.reserve is not None:
            return self.reserve
        if in_doubt:
            self.void_unkeyed(seed, request)
        raise Unavailable("the reserve is empty")

    def void_unkeyed(self, seed: str, request: PurchaseRequest) -> None:
        if not request.keyed:
            self.voided.append((request.event_id, seed, request.purchase_id))

    def failed(self, reason: str) -> None:
        self.failures.append(reason)
        self.breaker.is_open = True

    def terms(self, _event_id: str) -> tuple[str, int] | None:
        return self.known

    def doubt(self) -> None:
        self.looks += 1

    def look_now(self) -> None:
        self.looks += 1
