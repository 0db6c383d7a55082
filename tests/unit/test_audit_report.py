"""What an audit says: places, ranges, sentences and the table."""

from io import StringIO

from rich.console import Console

from ticketing.sale.audit import AuditReport, EventAudit, Violation, render
from ticketing.sale.audit_places import Double, Place, Places, ranges
from ticketing.sale.audit_report import Findings, shortened

EVENT = EventAudit("1", 1_000_000, 999_000, 900, 100, 1_000, 400_000, 12, 3)


def test_a_purchase_that_a_scan_gives_twice_counts_once() -> None:
    places = Places("1", 10)
    assert places.purchase("1.abc", ["E1-000001", "E1-000002"])
    assert not places.purchase("1.abc", ["E1-000001", "E1-000002"])
    assert places.purchase("1.new", ["E1-000011"])
    assert not places.purchase("1.new", ["E1-000011"])
    assert (places.tickets_sold, places.doubles) == (3, [])
    assert places.unseen() == {f"E1-{number:06d}" for number in range(3, 11)}


def test_every_pair_of_places_that_hold_one_ticket_is_remembered() -> None:
    places = Places("1", 4)
    places.purchase("1.abc", ["E1-000001"])
    places.purchase("1.def", ["E1-000001", "E1-000002"])
    places.lease("host-0", ["E1-000002", "E1-000003", "E1-000003"])
    places.lease("host-1", ["E1-000003"])
    places.pool(["E1-000003", "E1-000004", "E1-000004"])
    one, two = Place("purchase", "1.abc"), Place("purchase", "1.def")
    first, second = Place("lease", "host-0"), Place("lease", "host-1")
    assert places.doubles == [
        Double("E1-000001", one, two),
        Double("E1-000002", two, first),
        Double("E1-000003", first, first),
        Double("E1-000003", first, second),
        Double("E1-000003", first, Place("pool")),
    ]
    assert places.pool_twice == {"E1-000004"}
    assert places.unseen() == set()


def test_what_is_no_ticket_of_the_event_is_set_apart() -> None:
    odd = [
        "E1-1",
        "E1-0000001",
        "E1-000000",
        "E2-000001",
        "E10-000001",
        "",
        "E1-",
        "E1-00000x",
        "E1-" + "9" * 40,
        "E1-00000\u0661",
    ]
    places = Places("1", 5)
    places.pool([*odd, "E1-000006", "E1-1000000"])
    assert [stray.ticket for stray in places.strays] == odd
    assert [stray.ticket for stray in places.strays if stray.is_foreign] == ["E2-000001", "E10-000001"]
    assert [number for number, _ in places.beyond] == [6, 1_000_000]


def test_an_event_whose_id_begins_like_another_keeps_its_own_tickets() -> None:
    places = Places("a", 1)
    places.pool(["Ea-000001", "Ea-b-000001", "Ea-1-000001"])
    assert [stray.ticket for stray in places.strays if stray.is_foreign] == ["Ea-b-000001", "Ea-1-000001"]
    assert places.unseen() == set()


def test_tickets_in_a_row_are_told_as_a_range() -> None:
    tickets = {"E1-000009", "E1-000001", "E1-000002", "E1-000003", "E1-999999", "E1-1000000"}
    assert list(ranges(tickets)) == ["E1-000001 to E1-000003", "E1-000009", "E1-999999 to E1-1000000"]
    assert list(ranges(())) == []


def test_a_shortened_purchase_id_can_not_be_used() -> None:
    assert shortened("1.abcdefghijklmnopqrstuvwxyzab") == "1.abcdef…"
    assert shortened("abcdefghijkl") == "abcdef…"
    assert shortened("1.\x1b[31mred") == "1.\\x1b[31mr…"


def test_findings_come_in_the_order_of_the_invariants_and_each_once() -> None:
    findings = Findings("1")
    for invariant in (6, 2, 2, 1):
        findings.add(invariant, "things", f"thing {invariant}")
    assert [(found.invariant, found.detail) for found in findings.all()] == [
        (1, "thing 1"),
        (2, "thing 2"),
        (6, "thing 6"),
    ]


def test_the_sentences_say_what_is_broken_and_sum_up() -> None:
    broken = AuditReport([EVENT], [Violation("1", 2, "nothing holds E1-000007")])
    assert list(broken.sentences()) == [
        "event 1: invariant 2 is broken: nothing holds E1-000007",
        "1 event: 1 violation",
    ]
    assert list(AuditReport([EVENT, EVENT], []).sentences()) == ["2 events: every invariant holds"]


def test_the_table_fits_eighty_columns_and_shows_every_counter() -> None:
    out = StringIO()
    Console(file=out, width=80).print(render(AuditReport([EVENT], [Violation("1", 2, "x")])))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    for shown in ("1,000,000", "999,000", "900", "100", "1,000", "400,000", "12", "3"):
        assert any(shown in line.split() for line in lines), shown
