"""Which bytes are a plain request, and the environ that WSGI gives it.

What must stay true: a request that is read here means here what it means to gunicorn, which reads all others. So the
short way knows only what is beyond doubt: HTTP/1.1, a path, printable lines, no name twice, and no header whose meaning
is more than its value. Whatever else comes is not refused, it is not read.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

BODY_MAX = 16 * 1024 + 1  # the first length that the service refuses; it need not be held here to be refused
HEAD_MAX = 4096  # below each of gunicorn's limits by default; a head below all limits breaks none of them
NAMES_MAX = 1024  # remembered; a client can make up as many as it likes

# Method, target, its path and its query. `#` is left out: what follows it is no part of the request.
LINE = re.compile(r"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) ((/[!\"$->@-~]*)(?:\?([!\"$-~]*))?) HTTP/1\.1")
NAME = re.compile(r"[A-Za-z0-9-]+")
LENGTH_DIGITS = 6
# They change how a request is read or answered, in gunicorn's code.
MEANINGFUL = {"expect", "http2-settings", "transfer-encoding", "upgrade"}
OWN_KEYS = {"content-length": "CONTENT_LENGTH", "content-type": "CONTENT_TYPE"}
CLOSES = {"": False, "keep-alive": False, "close": True}  # by the value of the header Connection

Environ = dict[str, Any]
Schemes = tuple[tuple[str, str], ...]  # environ's key of a header, and the value by which a proxy says https


class Reader:
    """Reads plain requests within gunicorn's limits."""

    def __init__(self, *, line_max: int, field_max: int, fields_max: int) -> None:
        """gunicorn's limit_request_line, limit_request_field_size and limit_request_fields; 0 is no limit, its own."""
        self._head_max = min([HEAD_MAX, *(limit - 2 for limit in (line_max, field_max) if limit > 0)])
        self._fields_max = fields_max
        self._keys: dict[str, str] = {}

    def read(self, data: bytes, template: Environ, schemes: Schemes) -> tuple[Environ, int, int, bool] | None:
        """The environ, where the body begins and ends in `data`, which may not hold all of it, and whether the
        connection closes then. None where `data` does not begin with the whole head of a plain request.

        `template` is what the requests of this connection share; `schemes` is empty unless the peer is a trusted proxy.
        """
        end = data.find(b"\r\n\r\n", 0, self._head_max + 4)
        if end < 0:
            return None
        line, *fields = data[:end].decode("latin-1").split("\r\n")
        request = LINE.fullmatch(line)
        if request is None or len(fields) > self._fields_max or not "".join(fields).isprintable():
            return None
        environ = template.copy()
        if not self._add(fields, environ):
            return None
        length: int | None = 0
        closes: bool | None = False
        if "CONTENT_LENGTH" in environ:
            length = _length(environ["CONTENT_LENGTH"])
        if "HTTP_CONNECTION" in environ:
            closes = CLOSES.get(environ["HTTP_CONNECTION"].lower())
        if length is None or closes is None:
            return None
        if schemes and not _set_scheme(environ, schemes):
            return None
        method, target, path, query = request.groups()
        environ["REQUEST_METHOD"] = method
        environ["RAW_URI"] = target
        environ["PATH_INFO"] = unquote_to_bytes(path).decode("latin-1") if "%" in path else path
        environ["QUERY_STRING"] = query or ""
        return environ, end + 4, end + 4 + length, closes

    def _add(self, fields: list[str], environ: Environ) -> bool:
        """Whether each could be added."""
        keys = self._keys
        try:
            for field in fields:
                name, value = field.split(":", 1)
                key = keys.get(name) or self._key(name)
                if key in environ:
                    return False
                environ[key] = value.strip(" ")
        except ValueError:
            return False
        return True

    def _key(self, name: str) -> str:
        """environ's key of a header. Raises ValueError where it is not plain."""
        lower = name.lower()
        if lower in MEANINGFUL or not NAME.fullmatch(name):
            raise ValueError(name)
        key = OWN_KEYS.get(lower) or key_of(name)
        if len(self._keys) < NAMES_MAX:
            self._keys[name] = key
        return key


def _length(value: str) -> int | None:
    if not (value.isdecimal() and len(value) <= LENGTH_DIGITS):  # of Latin-1 only 0 to 9 are decimal
        return None
    length = int(value)
    return length if length <= BODY_MAX else None


def key_of(name: str) -> str:
    """environ's key of an ordinary header."""
    return "HTTP_" + name.upper().replace("-", "_")


def schemes_of(secure_scheme_headers: Mapping[str, str]) -> Schemes:
    """gunicorn's setting in the form that `Reader` takes."""
    return tuple((key_of(name), secure) for name, secure in secure_scheme_headers.items())


def _set_scheme(environ: Environ, schemes: Schemes) -> bool:
    """What a trusted proxy says of the scheme. False where it says it twice: gunicorn knows whether the two agree."""
    said = [environ[key] == secure for key, secure in schemes if key in environ]
    if said:
        environ["wsgi.url_scheme"] = "https" if said[0] else "http"
    return len(said) < 2
