"""A journal folder that was copied is noticed by the machine alone, and has an id and counts of its own."""

import shutil
from pathlib import Path

import pytest
from loguru import logger

from tests.sales import SEED, a_request
from ticketing.outage import machine, slots
from ticketing.outage.journal import Journal, JournalDamaged, Snapshot, VoidIntent, parse
from ticketing.store.leases import JournalledPurchase


def devices(folder: Path, *addresses: str, assigned: str = "0") -> Path:
    """Network devices as Linux lists them."""
    shutil.rmtree(folder, ignore_errors=True)
    for address in addresses:
        (folder / address / "device").mkdir(parents=True)
        (folder / address / "addr_assign_type").write_text(f"{assigned}\n")
        (folder / address / "address").write_text(f"{address}\n")
    return folder


@pytest.fixture
def journals(tmp_path: Path) -> Path:
    """The folder of a host whose process was killed: a count, two purchases, a void intent."""
    folder = tmp_path / "journal"
    machine.keep_apart(folder, devices(tmp_path / "net"))
    slot = slots.take_lowest(folder)
    journal = Journal(slot.journal_path)
    journal.read()
    sold = [JournalledPurchase(a_request(2), SEED, 1) for _ in range(2)]
    snapshot = Snapshot("1", SEED, ("t-1-x",), 20, 7, 10, None, None, paused=False)
    journal.write([snapshot, *sold, VoidIntent("1", SEED, "1.x")])
    journal.close()
    slot.release()
    return folder


def started(folder: Path, net: Path) -> tuple[str, int, int, int]:
    """The host id that it has once it is started, and what its journal holds: sellable, purchases, voids."""
    machine.keep_apart(folder, net)
    content = parse((folder / "slot-0.journal").read_bytes())[1]
    return slots.host_id(folder), content.sellable["1", SEED], len(content.purchases), len(content.voids)


def test_a_folder_that_stays_keeps_its_id_and_its_count(journals: Path, tmp_path: Path) -> None:
    before = slots.host_id(journals)
    for net in ((), ("aa",), ("aa", "bb"), ("bb",), (), ("bb", "cc")):
        assert started(journals, devices(tmp_path / "net", *net)) == (before, 16, 2, 1)


def test_a_copy_has_an_id_of_its_own_and_sells_nothing_and_keeps_what_was_promised(
    journals: Path, tmp_path: Path
) -> None:
    before, said = slots.host_id(journals), []
    shutil.copytree(journals, tmp_path / "copy")
    sink = logger.add(said.append, format="{level} {message}")
    made = started(tmp_path / "copy", tmp_path / "net")
    assert started(tmp_path / "copy", tmp_path / "net") == made  # once
    logger.remove(sink)
    assert (made[0] != before, made[1:]) == (True, (0, 2, 1))
    assert [before in str(line) and "release-host" in str(line) for line in said] == [True]
    assert parse((tmp_path / "copy" / "slot-0.journal").read_bytes())[1].snapshots["1", SEED].tokens == ()
    assert started(journals, tmp_path / "net") == (before, 16, 2, 1)


@pytest.mark.parametrize(("assigned", "noticed"), [("0", True), ("3", False)])
def test_an_image_of_a_disk_on_a_machine_with_other_devices_is_noticed(
    journals: Path, tmp_path: Path, assigned: str, noticed: bool
) -> None:
    before = started(journals, devices(tmp_path / "net", "aa", "bb", assigned=assigned))[0]
    assert (started(journals, devices(tmp_path / "net", "cc", assigned=assigned))[0] != before) is noticed


def test_while_a_process_holds_a_slot_the_id_stays(journals: Path, tmp_path: Path) -> None:
    machine.keep_apart(journals, devices(tmp_path / "net", "aa"))
    slot = slots.take_lowest(journals)
    assert started(journals, devices(tmp_path / "net", "bb"))[0] == slot.holder.rpartition("-")[0]
    slot.release()


def test_a_damaged_journal_of_a_copy_stays_as_it_is(journals: Path, tmp_path: Path) -> None:
    shutil.copytree(journals, tmp_path / "copy")
    damaged = tmp_path / "copy" / "slot-0.journal"
    damaged.write_bytes(b"no\njournal\n")
    machine.keep_apart(tmp_path / "copy", tmp_path / "net")
    assert damaged.read_bytes() == b"no\njournal\n"
    with pytest.raises(JournalDamaged):
        parse(damaged.read_bytes())


def test_what_is_damaged_of_the_machine_is_written_anew(journals: Path, tmp_path: Path) -> None:
    before = slots.host_id(journals)
    for damage in ("", "{}", "[]", "no"):
        (journals / machine.FILE).write_text(damage)
        assert started(journals, tmp_path / "net")[0] == before
