"""What so many purchases a second need, part by part, and which part gives first. Pure.

What must stay true: costs add up and nothing queues here (sale.py has the queues); what is called first is the part
that a machine of the given size has least of, and a store is one thread however many cores its machine has.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.capacity.figures import Assumed, Measured

SECOND_US = 1e6
GB_KB, GBIT_BYTES = 2**20, 1e9 / 8
RATES = (1_000, 10_000, 100_000, 1_000_000)


@dataclass(frozen=True)
class Machine:
    """Of which there is one for each part: what a part may use before it needs another."""

    cores: float = 16.0
    gbit_per_s: float = 10.0
    connections: int = 500_000


@dataclass(frozen=True)
class Late:
    """A sale that goes on for so long, and how late the last receipt may be."""

    sale_s: float = 30.0
    late_s: float = 30.0

    @property
    def share(self) -> float:
        """Of the receipt cores that receipts in real time need."""
        return self.sale_s / (self.sale_s + self.late_s)


@dataclass(frozen=True)
class Needs:
    """Cores unless the name says otherwise. `ease` is what p99 asks for, `busy` what the work itself takes."""

    per_s: float
    web_busy: float
    web_ease: float
    store_busy: float
    store_ease: float
    store_receipts: float
    receipts: float
    receipts_late: float
    polls: float
    polls_late: float
    proxy: float
    connections: float
    web_gb: float
    proxy_gb: float
    gbit_per_s: float

    def shares(self, machine: Machine) -> dict[str, float]:
        """How much of one machine, or of one store thread, each part takes."""
        return {
            "web": self.web_busy / machine.cores,
            "store": self.store_busy + self.store_receipts,
            "receipts": self.receipts / machine.cores,
            "polls": self.polls / machine.cores,
            "TLS": self.proxy / machine.cores,
            "connections": self.connections / machine.connections,
            "network": self.gbit_per_s / machine.gbit_per_s,
        }


def needs(measured: Measured, assumed: Assumed, per_s: float, late: Late) -> Needs:
    """Of so many purchases a second, one ticket each."""
    late_polls = late.late_s / 2 / assumed.poll_every_s  # waits grow from nothing to late_s
    proxy_us = assumed.handshake_us + (2 + assumed.polls) * assumed.proxy_us
    asked_bytes = (1 + assumed.polls) * assumed.poll_bytes
    sent = assumed.handshake_bytes + assumed.purchase_bytes + asked_bytes + assumed.receipt_bytes
    connections = per_s * assumed.open_s
    return Needs(
        per_s=per_s,
        web_busy=per_s * measured.busy_us / SECOND_US,
        web_ease=per_s / measured.ease_per_s,
        store_busy=per_s * measured.busy_store_us / SECOND_US,
        store_ease=per_s * measured.ease_store_us / SECOND_US,
        store_receipts=per_s * measured.receipt_store_us / SECOND_US,
        receipts=per_s * measured.receipt_us / SECOND_US,
        receipts_late=per_s * measured.receipt_us / SECOND_US * late.share,
        polls=per_s * (assumed.polls * measured.poll_us + measured.file_us) / SECOND_US,
        polls_late=per_s * (late_polls * measured.poll_us + measured.file_us) / SECOND_US,
        proxy=per_s * proxy_us / SECOND_US,
        connections=connections,
        web_gb=connections * measured.busy_kb / GB_KB,
        proxy_gb=connections * assumed.tls_kb / GB_KB,
        gbit_per_s=per_s * sent / GBIT_BYTES,
    )


def gives_first(found: Needs, machine: Machine) -> str:
    """The part that takes most of what there is one of."""
    shares = sorted(found.shares(machine).items(), key=lambda named: -named[1])
    (name, share), *rest = shares
    if share <= 1:
        return f"nothing ({name} at {share:.0%})"
    others = [f"{other} {_times(its)}" for other, its in rest if its > 1]
    return ", ".join([f"{name} {_times(share)}", *others])


def _times(share: float) -> str:
    return f"{share:.1f}x" if share < 10 else f"{share:,.0f}x"


def walls(measured: Measured, assumed: Assumed, machine: Machine) -> list[tuple[float, str, str]]:
    """Purchases a second that one unit of each part holds, the lowest first; the unit, and what moves the wall."""
    one = needs(measured, assumed, 1.0, Late())
    found = [
        (measured.receipts_per_s, "a receipt worker (one core)", "more workers, on any host"),
        (1 / one.polls, "a web core that answers GET /tickets", "more cores; files from object storage, an edge"),
        (1 / one.proxy, "a proxy core with TLS", "more proxies; sessions taken up again"),
        (measured.ease_per_s, f"a web process, p99 {measured.ease_p99_ms:.0f} ms", "more processes, more hosts"),
        (1 / one.web_busy, "a web process, busy", "more processes, more hosts"),
        (
            1 / (one.store_busy + one.store_receipts),
            "a store with the receipts of what it sells",
            "receipts late; events spread over shards",
        ),
        (1 / one.store_busy, "a store that sells only", "events spread over shards"),
        (machine.gbit_per_s / one.gbit_per_s, f"{machine.gbit_per_s:g} Gbit/s", "receipts from object storage"),
        (machine.connections / assumed.open_s, f"{machine.connections:,} connections", "more proxies"),
    ]
    return sorted(found)


def table(measured: Measured, assumed: Assumed, machine: Machine, late: Late) -> tuple[list[str], list[list[str]]]:
    """Heads and rows: cores, unless a head says otherwise."""
    after = f"late by {late.late_s:g} s"
    heads = [
        "purchases/s",
        "web, busy (p99 low)",
        "store, sale: busy (p99 low)",
        "store, receipts",
        f"receipts ({after})",
        f"polls ({after})",
        "TLS proxy",
        "open connections",
        "their memory, web + proxy",
        "network",
        "what gives first, in machines (store: threads)",
    ]
    return heads, [_row(needs(measured, assumed, rate, late), machine) for rate in RATES]


def _row(found: Needs, machine: Machine) -> list[str]:
    return [
        f"{found.per_s:,.0f}",
        f"{_cores(found.web_busy)} ({_cores(found.web_ease)})",
        f"{_cores(found.store_busy)} ({_cores(found.store_ease)})",
        _cores(found.store_receipts),
        f"{_cores(found.receipts)} ({_cores(found.receipts_late)})",
        f"{_cores(found.polls)} ({_cores(found.polls_late)})",
        _cores(found.proxy),
        f"{found.connections:,.0f}",
        f"{_cores(found.web_gb)} + {_cores(found.proxy_gb)} GB",
        f"{_cores(found.gbit_per_s)} Gbit/s",
        gives_first(found, machine),
    ]


def _cores(amount: float) -> str:
    return f"{amount:,.0f}" if amount >= 10 else f"{amount:.1f}" if amount >= 1 else f"{amount:.2g}"


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table to be pasted."""
    return [_line(heads), _line(["---"] * len(heads)), *(_line(row) for row in rows)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
