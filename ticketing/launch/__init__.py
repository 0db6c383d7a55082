"""One command starts every part on one machine: store, web, receipt workers, sweeper. Nothing here sells.

    launcher.py ── pipe ──> supervise.py ──> the parts, each restarted when it dies
    (terminal)              (supervisord)

What must stay true: when the launcher has ended, however it ended, so has everything that it started. Its end of the
pipe is the lifeline: supervise.py stops every part in order as soon as it breaks.
"""

from ticketing.launch.launcher import run

__all__ = ["run"]
