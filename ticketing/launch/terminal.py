"""What the person at the terminal reads: progress, one clear block when all is ready, and the parts' log lines.

What must stay true: output that nobody can read any more is no reason to fail; the admin token is shown once, when it
is new.
"""

import contextlib
import os
import re
import select
import sys
from collections.abc import Sequence
from pathlib import Path

from ticketing.config import Settings

# telemetry.logs.TERMINAL, which has no colours in a file.
LOG_LINE = re.compile(
    r"(?P<time>\d\d:\d\d:\d\d\.\d{3}) (?P<level>(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) *) (?P<part>\S+ *)(?P<rest> .*)"
)
COLOURS = {
    "DEBUG": "\x1b[34m",
    "INFO": "\x1b[1m",
    "WARNING": "\x1b[33m",
    "ERROR": "\x1b[31m",
    "CRITICAL": "\x1b[41m",
}
DIM, CYAN, PLAIN = "\x1b[2m", "\x1b[36m", "\x1b[0m"


def say(*lines: str) -> None:
    """The lines are on standard output, if there still is one."""
    with contextlib.suppress(OSError, ValueError):
        print(*lines, sep="\n", flush=True)


def painted(line: str) -> str:
    """A line of a part's log in the colours that it would have had on a terminal; any other line as it is."""
    found = LOG_LINE.fullmatch(line)
    if found is None:
        return line
    colour = COLOURS[found["level"].strip()]
    return f"{DIM}{found['time']}{PLAIN} {colour}{found['level']}{PLAIN} {CYAN}{found['part']}{PLAIN}{found['rest']}"


def complain(*lines: str) -> None:
    """The lines are on standard error, if there still is one."""
    with contextlib.suppress(OSError, ValueError):
        print(*lines, sep="\n", file=sys.stderr, flush=True)


class Terminal:
    """The terminal on standard input, if there is one. It can vanish without a signal to us: ours may go to make."""

    def __init__(self) -> None:
        self._paints = sys.stdout.isatty() and not os.environ.get("NO_COLOR")  # no-color.org
        self._poll = select.poll()
        if os.isatty(0):
            self._poll.register(0, 0)

    def show(self, lines: Sequence[str]) -> None:
        """Lines of the parts' logs, in colours where somebody looks at them."""
        say(*(map(painted, lines) if self._paints else lines))

    def has_gone(self) -> bool:
        """Whether there was one, and somebody closed it."""
        return any(event & select.POLLHUP for _, event in self._poll.poll(0))


def ready_block(settings: Settings, seconds: float) -> Sequence[str]:
    """What to do next."""
    url = settings.local_url
    return (
        "",
        f"Ready after {seconds:.1f} s:  {url}/",
        "",
        f"  the sale   {url}/admin/live    (the admin token signs you in)",
        f"  events     {url}/events",
        f"  the API    {url}/docs",
        f"  health     {url}/health",
        f"  metrics    {url}/metrics",
        f"  receipts   {url}/admin/rq    (any user name, the admin token as password)",
        f"  {admin_token(settings)}",
        "",
        f"  Buy a ticket:  curl -X POST {url}/buy/1",
        "",
        f"Logs are kept in {_near(settings.data_dir / 'logs')}. Ctrl-C ends everything; what was sold stays sold.",
        "",
    )


def admin_token(settings: Settings) -> str:
    """The token where this start is the first to use it, otherwise where to find it."""
    kept = settings.secrets_dir / "admin_token"
    if not kept.exists() or kept.read_text().strip() != settings.admin_token:
        return "admin token: the ADMIN_TOKEN that is set"
    shown, where = kept.with_name(".admin_token_shown"), _near(kept)
    try:
        os.close(os.open(shown, os.O_CREAT | os.O_EXCL, 0o600))
    except OSError:
        return f"admin token: in {where}"
    return f"admin token: {settings.admin_token}    (shown once; kept in {where})"


def _near(path: Path) -> str:
    near = os.path.relpath(path)
    return str(path) if near.startswith("..") else near
