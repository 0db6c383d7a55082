"""POST /buy/<event_id> answered before Flask's routing, which costs more than the rest of a purchase.

What must stay true: nobody can tell from an answer, a metric or the log which way it was made: both ways call
`Purchases.answer`. What is not plain (another path, a body packed, too long or of unknown length) goes to Flask.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from werkzeug.http import HTTP_STATUS_CODES

from ticketing.api import problems
from ticketing.api.answers import ON_EVERY_ANSWER, REQUEST_ID_HEADER, request_id_of
from ticketing.api.bodies import BODY_MAX_BYTES
from ticketing.api.purchases import ROUTE, Answer, Purchases, of_problem
from ticketing.model import is_event_id

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

BUY = "/buy/"
LENGTH_DIGITS = 5  # of BODY_MAX_BYTES
LINES_OF_EVERY_ANSWER = "".join(f"{name}: {value}\r\n" for name, value in ON_EVERY_ANSWER.items())


class ExpressLane:
    """A WSGI application: plain purchases itself, all else by way of Flask."""

    def __init__(self, purchases: Purchases, flask: "WSGIApplication") -> None:
        self._purchases = purchases
        self.flask = flask

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request."""
        path = environ["PATH_INFO"]
        if not path.startswith(BUY) or environ["REQUEST_METHOD"] != "POST":
            return self.flask(environ, start_response)
        event_id, length = path[len(BUY) :], _length(environ)
        if length is None or not is_event_id(event_id):
            return self.flask(environ, start_response)
        request_id = request_id_of(environ.get("HTTP_X_REQUEST_ID", ""))
        answer = self._answer(event_id, length, environ, request_id)
        whole = getattr(start_response, "whole", None)  # of our own worker, unless somebody listens
        if whole is not None:
            lines = f"{answer.lines}{REQUEST_ID_HEADER}: {request_id}\r\n{LINES_OF_EVERY_ANSWER}"
            whole(_status_line(answer.status), lines, answer.body)
            return ()
        start_response(_status_line(answer.status), _headers(answer, request_id))
        return [answer.body]

    def _answer(self, event_id: str, length: int, environ: "WSGIEnvironment", request_id: str) -> Answer:
        try:
            turned_away = self._purchases.turned_away(
                environ.get("REMOTE_ADDR", ""), environ.get("HTTP_X_FORWARDED_FOR")
            )
            if turned_away is not None:
                return turned_away
            body = _read(environ, length)
            if body is None:
                return of_problem(problems.of_status(400))
            return self._purchases.answer(
                event_id, environ.get("CONTENT_TYPE"), environ.get("HTTP_IDEMPOTENCY_KEY"), body, request_id
            )
        except Exception as error:  # as Flask does: a fault of ours is a problem too
            return of_problem(problems.of_bug(error, "POST", ROUTE, request_id))


def _headers(answer: Answer, request_id: str) -> list[tuple[str, str]]:
    own = [("Content-Type", answer.media_type), ("Content-Length", str(len(answer.body)))]
    return [*answer.headers.items(), *own, (REQUEST_ID_HEADER, request_id), *ON_EVERY_ANSWER.items()]


def _length(environ: "WSGIEnvironment") -> int | None:
    """How long the body is; None where that is not known, more than a body may have, or not all of it."""
    digits = environ.get("CONTENT_LENGTH") or "0"
    if "HTTP_TRANSFER_ENCODING" in environ or "HTTP_CONTENT_ENCODING" in environ:
        return None
    if len(digits) > LENGTH_DIGITS or not digits.isdecimal():
        return None
    length = int(digits)
    return length if length <= BODY_MAX_BYTES else None


def _read(environ: "WSGIEnvironment", length: int) -> bytes | None:
    """The whole body; None where the client has gone before it was sent."""
    if length == 0:
        return b""
    try:
        body: bytes = environ["wsgi.input"].read(length)
    except OSError:
        return None
    return body if len(body) == length else None


@lru_cache
def _status_line(status: int) -> str:
    return f"{status} {HTTP_STATUS_CODES[status].upper()}"
