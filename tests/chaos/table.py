"""What a run says at its end: a table of its faults, and for each problem what is needed to look into it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.account import Problem
from tests.chaos.faults import Struck
from tests.chaos.history import History, Try, Wish
from tests.chaos.schedule import Kind

AROUND_S = 6.0
SHOWN_MOST = 10


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of fault in a run."""

    kind: Kind
    times: int
    met: int  # of them found purchases in flight
    in_flight: int
    provisional: int


def rows(struck: Iterable[Struck], history: History, kinds: Iterable[Kind]) -> list[Row]:
    """A row a kind. A fault that found nothing to strike did not happen."""
    by_kind: dict[Kind, list[tuple[int, int]]] = defaultdict(list)
    for one in struck:
        if one.done:
            host = one.fault.host
            met = history.met(host, one.began_s)
            by_kind[one.fault.kind].append((met, history.provisional(host, one.began_s, one.ended_s)))
    return [
        Row(
            kind,
            len(by_kind[kind]),
            sum(met > 0 for met, _ in by_kind[kind]),
            sum(met for met, _ in by_kind[kind]),
            sum(provisional for _, provisional in by_kind[kind]),
        )
        for kind in kinds
    ]


def table(found: Sequence[Row]) -> str:
    """The rows as text."""
    head = f"{'fault':24}{'times':>8}{'survived':>10}{'in flight':>11}{'provisional':>13}"
    lines = [f"{row.kind:24}{row.times:8}{row.met:10}{row.in_flight:11}{row.provisional:13}" for row in found]
    return "\n".join([head, *lines])


def explain(problems: Sequence[Problem], tries: Mapping[Wish, Sequence[Try]], struck: Sequence[Struck]) -> str:
    """The first problems, each with its wish's answers and the faults around them."""
    lines = [f"{len(problems)} problems" + (f", the first {SHOWN_MOST}:" if len(problems) > SHOWN_MOST else ":")]
    for problem in problems[:SHOWN_MOST]:
        lines += ["", problem.what]
        if problem.wish is not None:
            own = tries[problem.wish]
            lines += [f"  {problem.wish}", *(f"  {one}" for one in own)]
            lines += ["  faults around it:", *(f"    {one}" for one in around(own, struck))]
    return "\n".join(lines)


def around(tries: Sequence[Try], struck: Iterable[Struck]) -> list[Struck]:
    """The faults that were under way from a little before the first of these tries to a little after the last."""
    first_s = min(one.asked_s for one in tries) - AROUND_S
    last_s = max(one.answered_s for one in tries) + AROUND_S
    return sorted(
        (one for one in struck if one.ended_s >= first_s and one.began_s <= last_s), key=lambda one: one.began_s
    )
