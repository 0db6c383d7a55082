"""The colours of a receipt: an event's accent, and what can be read on it.

What must stay true: text on the accent has a contrast of 4.5 or more (WCAG 2, AA), on any accent, light ones too.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)
INK: Colour = (23, 24, 33)
GREY: Colour = (106, 109, 125)  # 4.7 on the paper
PAPER: Colour = (245, 246, 248)
HAIRLINE: Colour = (214, 216, 222)
SHADOW: Colour = (226, 227, 232)
BLACK: Colour = (0, 0, 0)
DEFAULT_ACCENT: Colour = (35, 45, 120)
CONTRAST_MIN = 4.5

_HEX = re.compile(r"#([0-9a-fA-F]{6})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Palette:
    """The accent with the colours that go on it."""

    accent: Colour
    text: Colour
    quiet: Colour  # for what is second; still readable
    ring: Colour  # for ornaments
    pale: bool  # hardly told from white: what is white on it needs an outline

    @staticmethod
    @lru_cache(maxsize=256)
    def of(accent: str) -> "Palette":
        """The palette of "#rrggbb"; of the default accent if it is anything else."""
        match = _HEX.fullmatch(accent)
        base = _rgb(match[1]) if match else DEFAULT_ACCENT
        text = max((WHITE, INK), key=lambda colour: contrast(colour, base))
        if contrast(text, base) < CONTRAST_MIN:
            text = BLACK
        quiet = [mix(text, base, share) for share in (0.72, 0.8, 0.88)]
        readable = next((colour for colour in quiet if contrast(colour, base) >= CONTRAST_MIN), text)
        return Palette(base, text, readable, mix(text, base, 0.08), contrast(base, WHITE) < 1.25)


def _rgb(digits: str) -> Colour:
    red, green, blue = bytes.fromhex(digits)
    return red, green, blue


def mix(over: Colour, under: Colour, share: float) -> Colour:
    """`share` of `over` on `under`."""
    red, green, blue = (round(a * share + b * (1 - share)) for a, b in zip(over, under, strict=True))
    return red, green, blue


def contrast(one: Colour, other: Colour) -> float:
    """The contrast ratio of WCAG 2, from 1 to 21."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: Colour) -> float:
    red, green, blue = (_linear(part / 255) for part in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else float(((part + 0.055) / 1.055) ** 2.4)
