"""What every answer carries, whichever way it was made: the request's id, and what keeps browsers from doing harm."""

import random
import re

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
REQUEST_ID_HEADER = "X-Request-ID"
# A page has a stricter policy of its own, which stays. Strict-Transport-Security is for whoever ends TLS.
ON_EVERY_ANSWER = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # a receipt's address is its buyer's secret
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "frame-ancestors 'none'",
}

# An id is no secret, and asking the kernel for one costs 4 % of a purchase.
_numbers = random.Random()  # noqa: S311


def request_id_of(given: str) -> str:
    """The id that a request was sent with, where it is a sane one; else a new one."""
    return given if given and REQUEST_ID.fullmatch(given) else f"{_numbers.getrandbits(64):016x}"
