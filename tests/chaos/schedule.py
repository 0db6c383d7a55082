"""When which fault strikes whom, and for how long. Decided by the seed alone, so that a run can be made again.

What must stay true: nothing here looks at a clock or at what runs; each kind strikes often enough for its minimum even
if a few of its faults meet nobody.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

HOSTS = 2


class Kind(StrEnum):
    """What can happen. Those of a host strike one host, in turn."""

    KILL_SERVER = "kill the server"  # and start it again from its append-only file
    STOP_SERVER = "stop the server"  # it keeps its connections, and goes on later
    KILL_WEB = "kill a web worker"
    KILL_MASTER = "kill the web's master"
    KILL_RECEIPTS = "kill a receipt worker"
    CUT = "cut all connections"
    DELAY = "delay replies"
    LATE = "deliver commands late"  # when those who sent them have gone
    SWALLOW = "swallow replies"
    REFUSE = "refuse connections"
    LOSE = "lose a quarter"  # of the commands
    ISOLATE = "isolate one host"  # for long, while the other one sells on
    PART = "part the network"  # the primary with both hosts, its replica with the sentinels
    PART_HOSTS = "part it between hosts"  # the primary with one host, its replica with the other and the sentinels


OF_A_GROUP = frozenset({Kind.PART, Kind.PART_HOSTS})
OF_THE_SERVER = frozenset({Kind.KILL_SERVER, Kind.STOP_SERVER}) | OF_A_GROUP
# How long each lasts, in seconds; of a killed server, until it is started again.
LASTS_S = {
    Kind.KILL_SERVER: (0.05, 0.8),
    Kind.STOP_SERVER: (0.3, 4.0),
    Kind.KILL_WEB: (0.5, 0.5),
    Kind.KILL_MASTER: (0.5, 0.5),
    Kind.KILL_RECEIPTS: (0.5, 0.5),
    Kind.CUT: (0.1, 0.1),
    Kind.DELAY: (0.3, 3.0),
    Kind.LATE: (0.1, 1.3),
    Kind.SWALLOW: (0.2, 2.5),
    Kind.REFUSE: (0.3, 2.5),
    Kind.LOSE: (0.5, 3.0),
    Kind.ISOLATE: (2.0, 6.0),
    Kind.PART: (0.5, 5.0),
    Kind.PART_HOSTS: (0.5, 5.0),
}
SPARE = 1.25
OFTENER = {Kind.LATE: 2}  # only some meet a script on its way
FIRST_S = 1.0
WAVE_S, STORM = 40.0, 0.65  # faults come in waves: who had many outages soon after each other trusts the store late


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What can happen to what runs."""

    kinds: Sequence[Kind]
    lasts_s: Mapping[Kind, tuple[float, float]]
    server_every_s: float  # how often, at least, each kind of fault of the server must meet purchases
    others_every_s: float
    settled_a_second: float  # provisional purchases that a run must have met, a second of it
    unclear_a_second: float  # late scripts, voids and adoptions, the same

    def least_times(self, kind: Kind, seconds: float) -> int:
        """How often a kind must meet purchases in a run of this length."""
        return max(1, int(seconds / (self.server_every_s if kind in OF_THE_SERVER else self.others_every_s)))

    def times(self, kind: Kind, seconds: float) -> int:
        """How often it is to strike: more often than it must, since a few may meet nobody."""
        least = self.least_times(kind, seconds)
        return max(least + 1, math.ceil(SPARE * least)) * OFTENER.get(kind, 1)


ONE_SERVER = Catalogue(
    [kind for kind in Kind if kind not in OF_A_GROUP],
    LASTS_S,
    server_every_s=15.0,
    others_every_s=15.0,
    settled_a_second=1_000 / 300,
    unclear_a_second=100 / 300,
)
# Each fault of the primary takes until the group is whole again, and some last longer than a failover takes. While they
# do, there is less for the others to strike.
ONE_GROUP = Catalogue(
    list(Kind),
    LASTS_S | {Kind.KILL_SERVER: (0.05, 5.0), Kind.STOP_SERVER: (0.3, 5.0)},
    server_every_s=60.0,
    others_every_s=45.0,
    settled_a_second=400 / 300,
    unclear_a_second=20 / 300,
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault to come. `luck` (0 to 1) decides what else there is to decide."""

    at_s: float
    kind: Kind
    host: int | None  # None: the server, and so both
    lasts_s: float
    luck: float


def plan(seed: int, seconds: float, catalogue: Catalogue) -> list[Fault]:
    """Every fault of a run, the first one first."""
    chance = random.Random(seed)
    struck = [(kind, number) for kind in catalogue.kinds for number in range(catalogue.times(kind, seconds))]
    chance.shuffle(struck)
    return [
        Fault(
            at_s=_moment((place + chance.random()) / len(struck), seconds),
            kind=kind,
            host=None if kind in OF_THE_SERVER else number % HOSTS,
            lasts_s=chance.uniform(*catalogue.lasts_s[kind]),
            luck=chance.random(),
        )
        for place, (kind, number) in enumerate(struck)
    ]


def _moment(share: float, seconds: float) -> float:
    """When the fault strikes that has this share (0 to 1) of all faults before it."""
    waves = max(1, round(seconds / WAVE_S))
    wave_s = (seconds - FIRST_S) / waves
    into, wave = math.modf(share * waves)
    return FIRST_S + wave_s * (wave + into * (STORM if waves > 1 else 1.0))
