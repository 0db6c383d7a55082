"""Looking at this host's journals leaves them, their locks and their folder as they were."""

from pathlib import Path

import pytest

from tests.sales import SEED, a_request
from ticketing.outage import inspection, slots
from ticketing.outage.journal import Journal, JournalError, Snapshot, VoidIntent
from ticketing.outage.outlook import Outlook, look
from ticketing.outage.words import Said, lines, printable
from ticketing.store.leases import JournalledPurchase, decided_at


def a_snapshot(event_id: str, sellable: int, version: int = 7, seed: str = SEED) -> Snapshot:
    return Snapshot(event_id, seed, ("t",), sellable, version, 10, None, None, False)


def a_journal(folder: Path, number: int = 0) -> Path:
    """Two events, three purchases, one void intent; no process holds it."""
    (folder / slots.HOST_ID_FILE).write_text("a" * 32)
    journal = Journal(folder / f"slot-{number}.journal")
    sold = [
        JournalledPurchase(a_request(quantity, event_id=event), SEED, 1) for quantity, event in ((2, "1"), (3, "1"))
    ]
    other = JournalledPurchase(a_request(1, event_id="2"), SEED, 1)
    journal.write([a_snapshot("1", 10), *sold, a_snapshot("2", 4, 9), other, VoidIntent("1", SEED, "1.x")])
    journal.close()
    return journal.path


def test_a_journal_is_read_and_nothing_is_made_or_changed(tmp_path: Path) -> None:
    path = a_journal(tmp_path)
    path.write_bytes(path.read_bytes() + b"torn")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    [found] = inspection.journals(tmp_path)
    assert (found.name, found.holder, found.held, found.damage) == ("slot-0", f"{'a' * 32}-0", False, "")
    assert inspection.owed(found) == [inspection.Owed("1", 2, 5, 5), inspection.Owed("2", 1, 1, 3)]
    assert inspection.owed(found, lambda *_: ())[0] == inspection.Owed("1", 0, 0, 5)
    assert len(found.content.voids) == 1
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_what_can_be_read_of_a_damaged_journal_is_counted(tmp_path: Path) -> None:
    path = a_journal(tmp_path)
    kept = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*kept[:2], b"00000000 {}\n", *kept[3:]]))
    [found] = inspection.journals(tmp_path)
    assert found.damage == "line 3 of 7 is damaged"
    assert [row.purchases for row in inspection.owed(found)] == [1, 1]
    assert inspection.highest_version([found], "2") == 9


def test_a_held_slot_is_seen_as_held_and_free_again_after_its_process(tmp_path: Path) -> None:
    slot = slots.take_lowest(tmp_path)
    slot.journal_path.touch()
    assert inspection.journals(tmp_path)[0].held
    assert inspection.is_slot_held(tmp_path, slot.holder)
    slot.release()
    assert not inspection.journals(tmp_path)[0].held
    again = slots.take_lowest(tmp_path)  # the look left no lock behind
    assert again.number == 0
    again.release()


def test_the_highest_version_is_that_of_the_event_or_of_one_seed_of_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "slot-0.journal")
    journal.write([a_snapshot("1", 1, 500, "old"), a_snapshot("1", 1, 20), a_snapshot("2", 1, 900)])
    journal.close()
    found = inspection.journals(tmp_path)
    assert [inspection.highest_version(found, "1", seed) for seed in (None, SEED, "none")] == [500, 20, 0]
    assert inspection.event_ids(found) == {"1", "2"}


def test_a_host_without_a_journal_has_nothing_to_decide_but_the_store_is_away(tmp_path: Path) -> None:
    folder = tmp_path / "none"
    found = look(folder, None, "nobody answers")
    assert (found.journals, found.where("x-0")) == ([], "other host")
    assert found.wrong()[0].text == "Redis can't be asked: nobody answers"
    assert not folder.exists()
    assert Outlook(folder, [], []).wrong() == []


def test_a_lock_that_can_not_be_opened_is_a_journal_error(tmp_path: Path) -> None:
    (tmp_path / "slot-0.lock").mkdir()
    with pytest.raises(JournalError):
        inspection.is_held(tmp_path / "slot-0.lock")


def test_a_command_stands_whole_on_a_line_of_its_own() -> None:
    told = list(lines([Said("one two three four", "accept event 1"), Said("five")], 9, bullet="- "))
    assert told == ["- one two", "  three", "  four", "    python -m ticketing outage accept event 1", "- five"]
    assert printable("a\x1b[31mb\n") == "a?[31mb?"


def test_a_token_says_at_which_version_an_operator_decided() -> None:
    assert decided_at("accepted-1000000007-0123456789abcdef") == 1_000_000_007
    assert [decided_at(token) for token in ("", "accepted-", "0123456789abcdef-1", "x-accepted-1-a")] == [0, 0, 0, 0]
