"""What there is to start: each part's command, its log, and how it is stopped, as a configuration of supervisord.

What must stay true: parts stop in the opposite order of their priorities, the store last; a part's stop_wait_s is more
than it needs to finish what it has begun. Paths in DATA_DIR are written relative to DATA_DIR/run, where supervisord
runs, so that no character in them can mean something to it.
"""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ticketing.config import Settings

ROOT = Path(__file__).resolve().parents[2]
STORE_STOP_S = 60
SWEEPER_STOP_S = 10
RECEIPTS_STOP_S = 15  # a job takes a second; one that is killed is done again by the outbox
LOG_MAX = "5MB"
LOG_BACKUPS = 3
RELOADED = ("*.lua", "*.yaml", "*.html")


@dataclass(frozen=True)
class Part:
    """One kind of process."""

    name: str
    command: Sequence[str]
    priority: int
    stop_wait_s: int
    copies: int = 1
    autostart: bool = False

    @property
    def logs(self) -> list[str]:
        """The names of its log files, one a copy."""
        if self.copies == 1:
            return [f"{self.name}.log"]
        return [f"{self.name}-{copy}.log" for copy in range(1, self.copies + 1)]


def python(mark: str, *words: str) -> list[str]:
    """A command of this project. Python ignores an -X option that it doesn't know; ps shows it."""
    return [sys.executable, "-X", mark, "-m", *words]


def parts(settings: Settings, mark: str, store_command: Sequence[str] | None, *, dev: bool) -> list[Part]:
    """Every part that this machine runs, in the order in which they start."""
    web = python(mark, "gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), *(_reloading() if dev else []))
    store = [Part("store", store_command, 10, STORE_STOP_S, autostart=True)] if store_command else []
    return [
        *store,
        Part("sweeper", python(mark, "ticketing", "sweep"), 40, SWEEPER_STOP_S),
        Part("receipts", python(mark, "workers"), 50, RECEIPTS_STOP_S, settings.receipt_workers),
        Part("web", [*web, "ticketing.server.wsgi:app"], 90, settings.graceful_timeout_s + 4),
    ]


def configuration(parts: Sequence[Part]) -> str:
    """The text of supervisord's configuration, to be written into DATA_DIR/run."""
    return "\n".join([_HEAD, *map(_program, parts)])


_HEAD = """\
[supervisord]
nodaemon=true
silent=true
logfile=../logs/supervisor.log
logfile_maxbytes=1MB
logfile_backups=1
pidfile=supervisord.pid
"""

_PROGRAM = """\
[program:{name}]
command={command}
process_name={process_name}
numprocs={copies}
numprocs_start=1
priority={priority}
autostart={autostart}
autorestart=true
startsecs=1
stopsignal=TERM
stopwaitsecs={stop_wait_s}
killasgroup=true
redirect_stderr=true
stdout_logfile=../logs/{process_name}.log
stdout_logfile_maxbytes={log_max}
stdout_logfile_backups={log_backups}
"""


def _program(part: Part) -> str:
    return _PROGRAM.format(
        name=part.name,
        command=_quoted(part.command),
        process_name=part.name if part.copies == 1 else f"{part.name}-%(process_num)d",
        copies=part.copies,
        priority=part.priority,
        autostart=str(part.autostart).lower(),
        stop_wait_s=part.stop_wait_s,
        log_max=LOG_MAX,
        log_backups=LOG_BACKUPS,
    )


def _quoted(command: Sequence[str]) -> str:
    """As supervisord reads it: split like a shell, with % doubled, and no comment where " ;" or " #" stands."""
    words = (shlex.quote(word).replace(" ;", " '';").replace(" #", " ''#") for word in command)
    return " ".join(words).replace("%", "%%")


def _reloading() -> list[str]:
    extra = [word for kind in RELOADED for word in ("--reload-extra-file", str(ROOT / "ticketing" / "**" / kind))]
    return ["--reload", *extra]
