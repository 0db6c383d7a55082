"""The HTML report: one file that needs nothing else, not even the network.

What must stay true: whatever the service or a command line put into a text is escaped; no script, no address to load.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from tests.load.run import Played, Run
from tests.load.table import ANSWER_HEADINGS, ROUND_HEADINGS, answer_rows, closing_lines, name_of, round_rows
from tests.load.verdict import Verdict

WIDTH, HEIGHT = 640, 120
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1c2333;background:#fff}
table{border-collapse:collapse;margin:1rem 0}
th,td{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #d8dce6;font-variant-numeric:tabular-nums}
th:first-child,td:first-child{text-align:left}
.well{color:#0a6b2d}.bad{color:#b00020}
svg{background:#f4f6fa;display:block}polyline{fill:none;stroke:#232d78;stroke-width:2}
@media(prefers-color-scheme:dark){body{color:#e6e9f2;background:#14171f}th,td{border-color:#333a4a}
svg{background:#1d2230}polyline{stroke:#8fa2ff}.well{color:#6fdc96}.bad{color:#ff8a9a}}
"""


def write(path: Path, run: Run, verdict: Verdict, checks: Sequence[Sequence[str]] = (), title: str = "Load") -> None:
    """The report is in the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(run, verdict, checks, title), encoding="utf-8")


def render(run: Run, verdict: Verdict, checks: Sequence[Sequence[str]] = (), title: str = "Load") -> str:
    """The report as HTML."""
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(run.host)}, {run.connections:,} connections, {when}</p>",
        f'<p class="{"well" if verdict.well else "bad"}"><strong>{escape(verdict.sentence())}</strong></p>',
        _listed("Broken", verdict.broken) + _listed("Errors", verdict.errors) + _listed("To know", verdict.notes),
        _table(("check", "found", "wanted", ""), checks) if checks else "",
        f"<h2>Rounds</h2>{_table(ROUND_HEADINGS, round_rows(run))}",
        f"<h2>Answers</h2>{_table(ANSWER_HEADINGS, answer_rows(run))}",
        "".join(f"<p>{escape(line)}</p>" for line in closing_lines(run)),
        "<h2>Purchases a second</h2>" + "".join(map(_curve, run.rounds)),
    ]
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    return f"{head}<body>{''.join(parts)}</body></html>\n"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _listed(heading: str, sentences: Sequence[str]) -> str:
    if not sentences:
        return ""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f"<h2>{heading}</h2><ul>{items}</ul>"


def _curve(played: Played) -> str:
    """How fast tickets went, from one look to the next."""
    speeds = per_second(played.pace)
    most = max((speed for _, speed in speeds), default=0.0)
    if len(speeds) < 2 or not most:
        return ""
    last_s = speeds[-1][0]
    points = " ".join(f"{WIDTH * at / last_s:.1f},{HEIGHT * (1 - speed / most):.1f}" for at, speed in speeds)
    caption = f"{name_of(played)}: at most {most:,.0f}/s, {last_s:.0f} s"
    box = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 -4 {WIDTH} {HEIGHT + 8}"'
    return f'<p>{escape(caption)}</p><svg {box}><polyline points="{points}"/></svg>'


def per_second(pace: Sequence[tuple[float, int]], over_s: float = 0.9) -> list[tuple[float, float]]:
    """Purchases a second, over stretches of about a second each."""
    speeds: list[tuple[float, float]] = []
    from_s, from_count = 0.0, 0
    for at_s, count in pace:
        if at_s - from_s >= over_s:
            speeds.append((at_s, max(0, count - from_count) / (at_s - from_s)))
            from_s, from_count = at_s, count
    return speeds
