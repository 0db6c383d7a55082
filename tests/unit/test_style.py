"""The house rules that a machine can check: short functions, modules that say what they are for, our own words."""

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import ROOT

FOLDERS = ("ticketing", "workers", "seeds", "tests/load", "tests/bench")
LENGTH_MEDIAN, LENGTH_MOST, LENGTH_NEVER = 7, 40, 70
EMPTY_NAMES = re.compile(r"(^|_)(utils?|helpers?|managers?)(_|$)", re.IGNORECASE)
# What the words of the sale replace (sale.md), as whole words of a name. Glyphs on a page may have an order.
NOT_OUR_WORDS = re.compile(r"(^|_)(orders?|seats?|stocks?|inventory|invoices?)(_|$)")
# `in_order` means a sequence, not a purchase.
SEQUENCE = re.compile(r"in_order")
CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
TREES = {path.relative_to(ROOT): ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def functions() -> Iterator[tuple[str, int]]:
    """Each function's place, and its lines without its docstring."""
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[0]
                text = ast.get_docstring(node, clean=False)
                docstring = first.end_lineno - first.lineno + 1 if text is not None and first.end_lineno else 0
                yield f"{path}:{node.lineno} {node.name}", (node.end_lineno or 0) - node.lineno + 1 - docstring


def names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def test_there_is_something_to_check() -> None:
    assert len(FILES) > 40


def test_functions_are_short() -> None:
    lengths = sorted(length for _, length in functions())
    assert statistics.median(lengths) <= LENGTH_MEDIAN
    assert lengths[int(len(lengths) * 0.95)] <= LENGTH_MOST


def test_no_function_is_too_long_to_be_seen_at_once() -> None:
    assert [(place, length) for place, length in functions() if length > LENGTH_NEVER] == []


@pytest.mark.parametrize("path", TREES, ids=str)
def test_a_module_says_what_it_is_for(path: Path) -> None:
    docstring = ast.get_docstring(TREES[path])
    assert docstring
    assert "." in docstring.splitlines()[0] or ":" in docstring.splitlines()[0]


@pytest.mark.parametrize("path", TREES, ids=str)
def test_names_say_something_and_are_the_words_of_the_sale(path: Path) -> None:
    said = {path.stem, *names(TREES[path])}
    snakes = {SEQUENCE.sub("", CAMEL.sub("_", name).lower()) for name in said}
    assert [name for name in snakes if EMPTY_NAMES.search(name)] == []
    if path.parts[0] != "workers":
        assert [name for name in snakes if NOT_OUR_WORDS.search(name)] == []


def test_no_folder_has_a_name_that_says_nothing() -> None:
    folders = {part for path in TREES for part in path.parts[:-1]}
    assert [name for name in folders if EMPTY_NAMES.search(name)] == []


def test_lua_functions_name_their_arguments_at_the_top() -> None:
    """ARGV by number only in the lines that name it, and where what follows it is counted from FIRST."""
    for path in sorted((ROOT / "ticketing" / "store").glob("*.lua")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if re.search(r"ARGV\[\d+\]", line):
                assert line.startswith("local "), f"{path.name}: {line}"
            if re.search(r"KEYS\[\d+\]", line):
                assert line.startswith("local "), f"{path.name}: {line}"
