"""Draws a dashboard's panels from a real Prometheus, so that a person can look at them without Grafana.

What must stay true: it asks exactly what Grafana would ask, and says "nothing" where a query found nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from tests.monitoring.catalogue import as_asked
from tests.monitoring.prometheus import Prometheus

CELL_W, CELL_H = 60, 30  # of Grafana's grid of 24 columns
INSET, TITLE_H, LEGEND_H = 8, 22, 15
LEGENDS_MOST = 6
COLOURS = ("#5794f2", "#73bf69", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#fade2a", "#37872d", "#c4162a", "#a352cc")
PAPER, INK, FAINT = "#ffffff", "#222222", "#d8d8d8"
UNITS = {"s": " s", "bytes": " B", "reqps": "/s", "ops": "/s", "percentunit": "", "short": ""}

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Span:
    """The time that is drawn, in seconds since 1970."""

    begin_s: float
    end_s: float
    step_s: float = 1.0


@dataclass(frozen=True)
class Line:
    """One series."""

    legend: str
    points: list[tuple[float, float]]


def draw(dashboard: dict[str, Any], seen: Prometheus, span: Span, path: Path) -> list[str]:
    """The dashboard is drawn into a PNG; the titles of panels that found nothing."""
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    image = Image.new("RGB", (24 * CELL_W, bottom * CELL_H), PAPER)
    pen = ImageDraw.Draw(image)
    empty = []
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        left, top = place["x"] * CELL_W, place["y"] * CELL_H
        box = (left + 3, top + 3, left + place["w"] * CELL_W - 3, top + place["h"] * CELL_H - 3)
        lines = [line for target in panel.get("targets", []) for line in _series(seen, target, span)]
        _panel(pen, box, panel, lines, span)
        if panel["type"] != "row" and not any(line.points for line in lines):
            empty.append(panel["title"])
    image.save(path)
    return empty


def _series(seen: Prometheus, target: dict[str, Any], span: Span) -> list[Line]:
    expr = as_asked(target["expr"])
    found = seen.get("query_range", query=expr, start=span.begin_s, end=span.end_s, step=span.step_s)["result"]
    lines = []
    for one in found:
        points = [(at, float(value)) for at, value in one["values"] if math.isfinite(float(value))]
        lines.append(Line(_legend(target["legendFormat"], one["metric"]), points))
    return lines


def _legend(form: str, labels: dict[str, str]) -> str:
    for name, value in labels.items():
        form = form.replace("{{" + name + "}}", value)
    return form or " ".join(value for name, value in labels.items() if name != "__name__")


def _panel(pen: ImageDraw.ImageDraw, box: Box, panel: dict[str, Any], lines: list[Line], span: Span) -> None:
    left, top, right, bottom = box
    if panel["type"] == "row":
        pen.text((left + INSET, top + 4), panel["title"], INK, font=_font(15))
        return
    pen.rectangle(box, outline=FAINT)
    pen.text((left + INSET, top + 4), panel["title"], INK, font=_font(13))
    within = (left + INSET, top + TITLE_H + 4, right - INSET, bottom - INSET)
    unit = panel["fieldConfig"]["defaults"]["unit"]
    if not any(line.points for line in lines):
        pen.text(within[:2], "nothing", "#f2495c", font=_font(18))
    elif panel["type"] == "timeseries":
        _plot(pen, within, lines, span, unit)
    else:
        _values(pen, within, panel, lines, unit)


def _values(pen: ImageDraw.ImageDraw, box: Box, panel: dict[str, Any], lines: list[Line], unit: str) -> None:
    """The last value of each series: what a stat, a gauge and a table show."""
    named = panel["type"] != "stat" or panel["options"]["textMode"] == "name"
    size = 13 if panel["type"] != "stat" else 24
    current = [line for line in lines if line.points and line.points[-1][0] >= max(_ends(lines)) - 1]
    for number, line in enumerate(current):
        value = _shown(line.points[-1][1], unit)
        text = (f"{line.legend}  {value}" if panel["type"] != "stat" else line.legend) if named else value
        pen.text((box[0], box[1] + number * (size + 5)), text, COLOURS[0], font=_font(size))


def _ends(lines: Sequence[Line]) -> list[float]:
    return [line.points[-1][0] for line in lines if line.points]


def _plot(pen: ImageDraw.ImageDraw, box: Box, lines: list[Line], span: Span, unit: str) -> None:
    lines = sorted(lines, key=lambda line: -max((value for _, value in line.points), default=0))
    legends = lines[:LEGENDS_MOST]
    left, top, right, bottom = box[0] + 62, box[1], box[2], box[3] - LEGEND_H * ((len(legends) + 2) // 3) - 4
    high = max((value for line in lines for _, value in line.points), default=1) or 1
    for share in (0, 0.5, 1):
        y = bottom - share * (bottom - top)
        pen.line((left, y, right, y), fill=FAINT)
        pen.text((box[0], y - 7), _shown(share * high, unit), INK, font=_font(11))
    for number, line in enumerate(lines):
        places = [
            (
                left + (at - span.begin_s) / (span.end_s - span.begin_s) * (right - left),
                bottom - value / high * (bottom - top),
            )
            for at, value in line.points
        ]
        if len(places) > 1:
            pen.line(places, fill=COLOURS[number % len(COLOURS)], width=2)
    for number, line in enumerate(legends):
        at = (box[0] + number % 3 * (box[2] - box[0]) // 3, bottom + 6 + number // 3 * LEGEND_H)
        pen.text(at, line.legend, COLOURS[number % len(COLOURS)], font=_font(11))


def _shown(value: float, unit: str) -> str:
    if unit == "percentunit":
        return f"{value:.1%}"
    if unit == "bytes" and value >= 1e6:
        return f"{value / 1e6:.1f} MB"
    return f"{value:,.0f}{UNITS[unit]}" if abs(value) >= 1000 else f"{value:.3g}{UNITS[unit]}"


def _font(size: int) -> Any:
    return ImageFont.load_default(size)
