"""The runbook names commands, calls, links and settings that there are; whether they help was tried by hand."""

import re
import shlex

import pytest
import yaml

from seeds.__main__ import _parser as parser_of_seeds
from tests.servers import ROOT
from ticketing.__main__ import _parser
from ticketing.config import Settings

RUNBOOK = (ROOT / "ops" / "runbook.md").read_text()
LINES = [line.partition(" #")[0].strip() for line in RUNBOOK.splitlines() if line.startswith("    ")]
COMMANDS = [words for line in LINES if (words := line.partition("python -m ticketing ")[2])]
SEEDINGS = [words for line in LINES if (words := line.partition("python -m seeds ")[2])]
CALLS = re.findall(r"\$URL(/[\w/-]+)", RUNBOOK)
API = yaml.safe_load((ROOT / "ticketing" / "api" / "openapi.yaml").read_text())
NOT_OURS = {"SIGTERM", "SIGSTOP", "CONFIG"}


def anchor(heading: str) -> str:
    """As the pages that show Markdown make it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one_of_ours(command: str) -> None:
    assert _parser().parse_args(shlex.split(command)).command


@pytest.mark.parametrize("seeding", SEEDINGS)
def test_a_seeding_is_one_that_seeds_understands(seeding: str) -> None:
    assert parser_of_seeds().parse_args(shlex.split(seeding)).file


@pytest.mark.parametrize("call", sorted(set(CALLS)))
def test_a_call_is_in_the_contract(call: str) -> None:
    paths = [re.sub(r"\{\w+\}", "[^/]+", path) for path in API["paths"]]
    assert call == "/admin/rq" or any(re.fullmatch(path, call) for path in paths)


def test_there_is_something_to_check() -> None:
    assert len(COMMANDS) > 15
    assert len(CALLS) > 10


def test_links_lead_to_what_is_there() -> None:
    headings = {anchor(heading) for heading in re.findall(r"^#+ (.+)$", RUNBOOK, re.MULTILINE)}
    for file, place in re.findall(r"\]\(([^)#]*)(?:#([^)]+))?\)", RUNBOOK):
        assert not file or (ROOT / "ops" / file).exists(), file
        assert file or place in headings, place
    for path in re.findall(r"tests/[\w/]+(?:\.py)?", RUNBOOK):
        assert (ROOT / path).exists(), path


def test_settings_are_ours() -> None:
    names = set(re.findall(r"\b([A-Z]+(?:_[A-Z]+)+)\b", RUNBOOK))
    known = {name.upper() for name in Settings.model_fields}
    example = (ROOT / ".env.example").read_text()
    assert {name for name in names - known if f"#{name}=" not in example} == set()
