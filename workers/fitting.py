"""Text into a box: smaller first, then on more lines, then cut with an ellipsis. Pure: widths come from a function.

What must stay true: no line that is returned is wider than its box; a break never parts a letter from its accents,
nor an emoji from what belongs to it.
"""

import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

ELLIPSIS = "…"
Width = Callable[[str], float]  # in em: multiply by the size

_JOINER = "\u200d"
_CLUSTER_MAX = 12  # characters; a longer chain of joined ones is no letter of any writing


class Step(NamedTuple):
    """One way to set a text: at this size, on at most this many lines."""

    size_pt: float
    lines: int


Ladder = Sequence[Step]


def fit(text: str, width_pt: float, ladder: Ladder, em_width: Width) -> tuple[float, list[str]]:
    """The size and lines of the first step that holds the whole text; on the last step it is cut."""
    pieces = _pieces(text)
    for step in ladder:
        limit_em = width_pt / step.size_pt
        lines = _wrap(pieces, limit_em, step.lines, em_width)
        if len(lines) <= step.lines:
            return step.size_pt, _stripped(_balanced(lines, pieces, limit_em, em_width))
    shown = ladder[-1].lines - 1
    lines = _wrap(pieces, limit_em, shown + 1, em_width)
    return ladder[-1].size_pt, _stripped([*lines[:shown], _shortened("".join(lines[shown:]), limit_em, em_width)])


def _stripped(lines: list[str]) -> list[str]:
    return [line.rstrip() for line in lines]


def clusters(text: str) -> list[str]:
    """`text` in what readers take for letters: a base with its marks, a joined emoji, a flag."""
    found: list[str] = []
    for character in text:
        if found and len(found[-1]) < _CLUSTER_MAX and _belongs(found[-1], character):
            found[-1] += character
        else:
            found.append(character)
    return found


def _belongs(cluster: str, character: str) -> bool:
    if character < "\u0300":
        return False
    if cluster[-1] == _JOINER or character == _JOINER or unicodedata.category(character) in ("Mn", "Me", "Mc"):
        return True
    if _is_flag_half(character):
        return len(cluster) == 1 and _is_flag_half(cluster)
    return "\U0001f3fb" <= character <= "\U0001f3ff" or "\U000e0020" <= character <= "\U000e007f"


def _is_flag_half(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _pieces(text: str) -> list[str]:
    """`text` in parts that a line may end after: words with their spaces, and each ideograph."""
    pieces: list[str] = []
    for cluster in clusters(text):
        if pieces and (cluster == " " or _is_one_word(pieces[-1], cluster)):
            pieces[-1] += cluster
        else:
            pieces.append(cluster)
    return pieces


def _is_one_word(piece: str, cluster: str) -> bool:
    return not piece.endswith(" ") and not _is_wide(piece[-1]) and not _is_wide(cluster)


def _is_wide(cluster: str) -> bool:
    return cluster[0] >= "\u2e80" and unicodedata.east_asian_width(cluster[0]) in "WF"


def _wrap(pieces: list[str], limit_em: float, lines_max: int, em_width: Width) -> list[str]:
    """Lines that fit, spaces at their ends not counted. If `lines_max` is not enough, one more holds all the rest."""
    lines: list[str] = []
    line = ""
    for index, piece in enumerate(pieces):
        if em_width((line + piece).rstrip()) <= limit_em:
            line += piece
            continue
        if line:
            lines.append(line)
        full, line = _broken(piece, limit_em, em_width)
        lines += full
        if len(lines) >= lines_max:
            rest = line + "".join(pieces[index + 1 :])
            return [*lines, rest] if rest else lines
    return [*lines, line] if line or not lines else lines


def _broken(piece: str, limit_em: float, em_width: Width) -> tuple[list[str], str]:
    """A piece that may be wider than a line: full lines of it, and the rest."""
    full: list[str] = []
    rest = clusters(piece)
    while em_width("".join(rest).rstrip()) > limit_em and len(rest) > 1:
        length = max(1, _longest(rest, limit_em, em_width, ""))
        full.append("".join(rest[:length]))
        rest = rest[length:]
    return full, "".join(rest)


def _longest(parts: list[str], limit_em: float, em_width: Width, end: str) -> int:
    """How many of `parts` fit, together with `end`."""
    low, high = 0, len(parts)
    while low < high:
        middle = (low + high + 1) // 2
        if em_width("".join(parts[:middle]).rstrip() + end) <= limit_em:
            low = middle
        else:
            high = middle - 1
    return low


def _shortened(text: str, limit_em: float, em_width: Width) -> str:
    parts = clusters(text)
    return "".join(parts[: _longest(parts, limit_em, em_width, ELLIPSIS)]).rstrip() + ELLIPSIS


def _balanced(lines: list[str], pieces: list[str], limit_em: float, em_width: Width) -> list[str]:
    """The same number of lines, the longest as short as it can be: no single word is left on the last line."""
    count = len(lines)
    low_em, best = limit_em / count, lines
    for _ in range(6 if count > 1 else 0):
        middle_em = (low_em + limit_em) / 2
        tried = _wrap(pieces, middle_em, count, em_width)
        if len(tried) <= count and max(em_width(line.rstrip()) for line in tried) <= middle_em:
            best, limit_em = tried, middle_em
        else:
            low_em = middle_em
    return best
