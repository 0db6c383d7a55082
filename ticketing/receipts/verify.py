"""What a gate asks: are these tickets genuine? Answers for one code, or for every code of a PDF, by public keys alone.

What must stay true: a verdict without a problem is of a ticket that was sealed with one of these keys. Whether it was
used before is not known here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ticketing.receipts.scan import codes_in
from ticketing.receipts.seal import PREFIX, BadCode, Checker, Sealed


@dataclass(frozen=True, slots=True)
class Verdict:
    """One code and what was found: `sealed` is what it says if it is genuine, otherwise `problem` says why not."""

    code: str
    sealed: Sealed | None = None
    problem: str = ""

    @property
    def genuine(self) -> bool:
        """Whether the code was sealed with one of the keys."""
        return self.sealed is not None


def verify(source: str, public_keys: Sequence[str]) -> list[Verdict]:
    """The verdict on a code, or on each code of a PDF in the order of its pages; a PDF without codes gives none.

    Raises UnreadableFile for a file that can't be opened, BadPublicKey for a key that is none.
    """
    checker = Checker(public_keys)
    codes = codes_in(Path(source)) if _is_file(source) else [source.strip()]
    return [_verdict(code, checker) for code in codes]


def _is_file(source: str) -> bool:
    return not source.startswith(PREFIX) and (source.lower().endswith(".pdf") or Path(source).is_file())


def _verdict(code: str, checker: Checker) -> Verdict:
    try:
        return Verdict(code, sealed=checker.check(code))
    except BadCode as error:
        return Verdict(code, problem=str(error))
