"""One HTTP request to something that may not be there, past every proxy that the environment names."""

import http.client
from urllib.parse import urlsplit

ASK_S = 5.0


def ask(url: str, **headers: str) -> tuple[int, bytes]:
    """Status and body of a GET. Raises OSError where nobody answers, or not in HTTP."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise OSError(f"{url} is no address")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=ASK_S)
    try:
        connection.request("GET", parts.path or "/", headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as error:
        raise OSError(f"{url} does not answer in HTTP: {error!r}") from error
    finally:
        connection.close()
