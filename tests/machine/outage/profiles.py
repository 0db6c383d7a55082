"""What a run is mostly about: the seed chooses one of these, so that each rule is needed somewhere often.

What must stay true: a profile changes how often something happens, never what may happen.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Losses:
    """What becomes of commands, in shares of all: the rest arrives and is answered."""

    unanswered: float = 0.10  # they run, and the reply is lost
    late: float = 0.12  # they come when nobody waits for them any more
    never: float = 0.03

    @property
    def answered(self) -> float:
        return 1 - self.unanswered - self.late - self.never


@dataclass(frozen=True, slots=True)
class Profile:
    """How likely a run makes what."""

    name: str
    processes: int = 4  # at most
    hurry: float = 0.5  # of the steps go to keepers alone: a round has many gates
    buyers: int = 2  # that a process serves at once
    retried: float = 0.45  # of the purchases
    recent: int = 12  # keys that buyers still try again
    keyed: float = 0.5
    sizes: tuple[int, ...] = (0, 3, 5, 8)  # tickets that a process leases, chosen anew each round
    low_water: tuple[int, ...] = (0, 1, 3)
    disk_luck: tuple[float, ...] = (0, 0, 0.02, 0.1)
    losses: Losses = Losses()
    lease_losses: Losses = Losses()
    dark_steps: tuple[int, int] = (60, 200)  # how long an outage of all lasts
    connected: float = 0.8  # of the processes that start
    happening: float = 0.08  # of the steps
    weights: dict[str, int] = field(default_factory=dict)

    def weight_of(self, happening: str) -> int:
        return (USUAL | self.weights)[happening]


USUAL = {
    "deliver": 35,
    "kill_one": 8,
    "kill_amid_change": 0,
    "start_one": 14,
    "cut_one": 22,
    "outage": 2,
    "pause": 2,
    "restock": 20,
    "rush": 12,
    "disks": 2,
}
LOSSY = Losses(unanswered=0.15, late=0.3, never=0.03)
QUIET = Profile("quiet")
# Leases are most of what is sold, change all the time, and lose every second reply.
LATE = Profile(
    "late",
    buyers=4,
    sizes=(0, 2, 6, 9),
    low_water=(0,),
    disk_luck=(0,),
    lease_losses=LOSSY,
    weights={"restock": 40, "rush": 25, "outage": 3, "kill_one": 3, "deliver": 60},
)
# Processes die amid changes, and their heirs sell without Redis.
HEIRS = Profile(
    "heirs",
    buyers=4,
    sizes=(0, 4, 9),
    low_water=(0,),
    disk_luck=(0,),
    lease_losses=LOSSY,
    connected=0.5,
    weights={"restock": 40, "rush": 25, "kill_one": 0, "kill_amid_change": 22, "outage": 4},
)
# Disks fail, and buyers ask for the same keys again at once.
POISON = Profile(
    "poison",
    buyers=4,
    keyed=0.3,
    retried=0.35,
    recent=2,
    sizes=(5, 9),
    low_water=(0,),
    disk_luck=(0, 0.3),
    weights={"restock": 40, "rush": 25, "kill_one": 4, "kill_amid_change": 12, "outage": 3, "disks": 12},
)
PROFILES = (QUIET, LATE, HEIRS, POISON)


def of_seed(seed: int) -> Profile:
    """Each in its turn."""
    return PROFILES[seed % len(PROFILES)]
