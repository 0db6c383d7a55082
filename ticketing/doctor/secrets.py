"""Settings that work in a rehearsal and would be a mistake on the night: weak secrets, secrets that others can read,
what is open to everybody, and Grafana's default password.

What must stay true: no secret is printed, in whole or in part.
"""

import base64
import stat
from collections.abc import Iterator

from ticketing.config import SECRETS, Settings
from ticketing.doctor.asking import ask
from ticketing.doctor.finding import Finding, fail, ok, warn

GUESSED = (
    "admin",
    "change",
    "default",
    "example",
    "hunter2",
    "password",
    "qwerty",
    "secret",
    "test",
    "ticket",
    "token",
)
LENGTH_LEAST, DISTINCT_LEAST = 12, 8  # characters; random secrets have more
GRAFANA = "http://127.0.0.1:3000"
GRAFANA_DEFAULT = "admin:admin"


def secrets(settings: Settings) -> Iterator[Finding]:
    """Each is hard to guess, and its owner's alone."""
    for name in SECRETS:
        shown, value = name.upper(), str(getattr(settings, name))
        path = settings.secrets_dir / name
        if not value:
            yield ok(shown, f"is made at the first start, and kept in {settings.secrets_dir}")
        elif _is_weak(value):
            yield fail(
                shown,
                "is easy to guess",
                WHAT_IT_OPENS[name],
                f"Set {shown} to what `openssl rand -base64 32` prints, before anything is sold.",
            )
        elif path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield fail(shown, f"{path} can be read by other users", WHAT_IT_OPENS[name], f"chmod 600 {path}")
        else:
            yield ok(shown, f"is kept in {path}; have a copy elsewhere" if path.exists() else "is set")


WHAT_IT_OPENS = {
    "admin_token": "Whoever knows it pauses sales, adds tickets and sees the queue.",
    "id_secret": "Whoever knows it computes purchase ids from keys, and fetches other buyers' receipts.",
    "signing_key": "Whoever knows it makes tickets that the gate takes for genuine.",
}


def _is_weak(value: str) -> bool:
    """Whether little is left of it without the words that come first to everybody's mind."""
    rest = value.lower()
    for word in GUESSED:
        rest = rest.replace(word, "")
    return len(rest) < LENGTH_LEAST or len(set(rest)) < DISTINCT_LEAST


def exposure(settings: Settings) -> Iterator[Finding]:
    """Who is believed, and what is told."""
    if "*" in settings.forwarded_allow_ips:
        yield warn(
            "FORWARDED_ALLOW_IPS",
            "everybody's X-Forwarded headers are believed",
            "Whoever reaches PORT past the proxy can pretend to be any client, and so get around RATE_LIMIT_PER_S.",
            "Name the proxies, or let nothing but them reach PORT.",
        )
    else:
        yield ok("FORWARDED_ALLOW_IPS", settings.forwarded_allow_ips or "nobody is believed")
    if settings.log_level == "DEBUG":
        yield warn(
            "LOG_LEVEL",
            "DEBUG: a line a purchase",
            "Logging costs as much as selling, and fills the disk.",
            "LOG_LEVEL=INFO",
        )
    if settings.reserve_tickets == 0:
        yield warn(
            "RESERVE_TICKETS",
            "0: there is no reserve",
            "While Redis is away every purchase is answered 503.",
            "Take RESERVE_TICKETS out of the settings, unless that is what you want.",
        )


def grafana(url: str = GRAFANA) -> Iterator[Finding]:
    """Its default password, where one can be seen from here."""
    basic = base64.b64encode(GRAFANA_DEFAULT.encode()).decode()
    try:
        status, _ = ask(f"{url}/api/org", Authorization=f"Basic {basic}")
    except OSError:
        yield ok("Grafana", f"none is to be seen at {url}")
        return
    if status != 200:
        yield ok("Grafana", f"{url} does not take the default password")
    else:
        yield warn(
            "Grafana",
            f"{url} takes admin, admin",
            "Whoever reaches that port sees and changes every dashboard.",
            "Set GRAFANA_PASSWORD before its first start, or change it there now.",
        )
