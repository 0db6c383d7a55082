"""How a seeding is shown: a bar on a terminal, a plain short line an event elsewhere."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from seeds.plan import Plan


class Bar:
    """A moving bar, with what is said above it."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("tickets"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("seeding", total=None)

    def __enter__(self) -> "Bar":
        """The bar is on the screen until the end."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """The bar is gone, and what was said stays."""
        self._progress.stop()

    def starts(self, tickets: int) -> None:
        """So many tickets are to be issued."""
        self._progress.update(self._task, total=tickets)

    def issued(self, plan: Plan, tickets: int) -> None:
        """So many more were issued of this event."""
        self._progress.update(self._task, advance=tickets, description=f"event {plan.event.event_id}")

    def says(self, text: str) -> None:
        """A line above the bar."""
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)


class Lines:
    """One line an event that got tickets, once it is done with."""

    def __init__(self) -> None:
        self._plan: Plan | None = None
        self._tickets = 0

    def __enter__(self) -> "Lines":
        """Nothing is to be set up."""
        return self

    def __exit__(self, *_: object) -> None:
        """The last event has its line."""
        self._end_line()

    def starts(self, tickets: int) -> None:
        """The end tells how many they were; nothing yet."""

    def issued(self, plan: Plan, tickets: int) -> None:
        """So many more were issued of this event."""
        if plan is not self._plan:
            self._end_line()
            self._plan, self._tickets = plan, 0
        self._tickets += tickets

    def says(self, text: str) -> None:
        """A line of its own."""
        self._end_line()
        print(text, flush=True)

    def _end_line(self) -> None:
        if self._plan is not None:
            event = self._plan.event
            print(f"event {event.event_id}: {self._tickets:,} tickets issued ({event.name})", flush=True)
        self._plan = None


def watcher() -> Bar | Lines:
    """What suits the place that standard output goes to."""
    console = Console()
    return Bar(console) if console.is_terminal else Lines()
