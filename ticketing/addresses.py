"""Addresses of the store and the queue: one server, the sentinels that know which server it is, or a cluster's nodes.

    redis://[user:password@]host[:port][/db]     rediss:// with TLS     unix://[user:password@]/socket
    redis+sentinel://[user:password@]host[:port],host[:port].../service[/db][?sentinel_username=&sentinel_password=]
    redis+cluster://[user:password@]host[:port],host[:port]...     rediss+sentinel:// and rediss+cluster:// with TLS

What must stay true: nothing here connects, and no error names a password. Behind sentinels the user and the password
are the servers'; the sentinels' own are said apart.
"""

from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

PLAIN = ("redis", "rediss", "unix")
SENTINEL, CLUSTER = "sentinel", "cluster"
KINDS = (SENTINEL, CLUSTER)
DEFAULT_PORTS = {SENTINEL: 26379, CLUSTER: 6379}
SCHEMES = "must start with redis://, rediss://, unix://, or redis or rediss and then +sentinel:// or +cluster://"

UNREADABLE = "must name its host as host or host:port; in a password / is %2F, ? is %3F, # is %23 and [ is %5B"


@dataclass(frozen=True, slots=True)
class Address:
    """Where to look for the server, or for whoever knows where it is."""

    url: str = field(repr=False)  # as it was given
    kind: str = ""  # SENTINEL, CLUSTER, or "" for one server, whose URL redis-py reads itself
    hosts: tuple[tuple[str, int], ...] = ()
    service: str = ""
    db: int = 0
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)

    @property
    def is_sentinel(self) -> bool:
        """Whether its hosts are sentinels."""
        return self.kind == SENTINEL

    @property
    def is_cluster(self) -> bool:
        """Whether its hosts are nodes of a cluster."""
        return self.kind == CLUSTER


def parse(url: str) -> Address:
    """The parts of an address. Raises ValueError, which says what must be otherwise."""
    scheme, separator, rest = url.partition("://")
    base, _, kind = scheme.partition("+")
    if separator and scheme in PLAIN:
        _check_host(url)
        return Address(url)
    if not separator or base not in ("redis", "rediss") or kind not in KINDS:
        raise ValueError(SCHEMES)
    rest, _, query = rest.partition("?")  # by hand: urlsplit's errors can name the password
    netloc, _, path = rest.partition("/")
    login, _, hosts = netloc.rpartition("@")
    username, _, password = login.partition(":")
    service, db = _path(kind, path)
    asked = parse_qs(query)
    if unknown := set(asked) - ({"sentinel_username", "sentinel_password"} if kind == SENTINEL else set()):
        # Behind an @ they are the rest of a password with a question mark.
        names = "" if "@" in query else f": {', '.join(sorted(unknown))}"
        raise ValueError(f"has parameters that nobody knows{names}")
    return Address(
        url=url,
        kind=kind,
        hosts=tuple(_host(host, DEFAULT_PORTS[kind]) for host in hosts.split(",")),
        service=service,
        db=db,
        tls=base == "rediss",
        username=unquote(username) or None,
        password=unquote(password) or None,
        sentinel_username=asked.get("sentinel_username", [None])[0],
        sentinel_password=asked.get("sentinel_password", [None])[0],
    )


def _check_host(url: str) -> None:
    """Before redis-py reads it, whose errors name a part of a password that is not quoted. Raises ValueError."""
    try:
        urlsplit(url).port  # noqa: B018 - it raises
    except ValueError:
        raise ValueError(UNREADABLE) from None


def _path(kind: str, path: str) -> tuple[str, int]:
    service, _, db = path.strip("/").partition("/")
    if kind == CLUSTER:
        if service not in ("", "0") or db:
            raise ValueError("has a path: a cluster knows no service, and no database but 0")
        return "", 0
    if not service or not (db or "0").isdecimal():
        raise ValueError("must end with /<service> or /<service>/<database>")
    return unquote(service), int(db or 0)


def _host(text: str, default_port: int) -> tuple[str, int]:
    """A host and its port, of `host`, `host:port`, `[::1]` or `[::1]:port`."""
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port
    except ValueError:
        port, parts = None, urlsplit("")
    if not parts.hostname or (port is None and text.endswith(":")):
        raise ValueError("must name its hosts as host or host:port, with commas between")
    return parts.hostname, port or default_port
