"""A bucket of S3, or of what speaks like it, through obstore: only here is S3 spoken.

What must stay true: each call ends soon, whatever the network does; an error is ReceiptsAway, whose text names no
object and no key, since a name may be a secret and stands in what obstore says; while the bucket is away most calls
are refused without asking it, so that nobody waits for each. obstore's store is made with the first call: after one in
a parent, every call in a forked child would hang for ever.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

import obstore
from loguru import logger
from obstore.exceptions import BaseError
from obstore.store import S3Store

from ticketing.errors import ReceiptsAway

if TYPE_CHECKING:  # they are not there at run time
    from obstore import GetOptions
    from obstore.store import BackoffConfig

T = TypeVar("T")

PAUSE_S = 1.0  # after a failure nobody asks for so long
CONNECT = timedelta(seconds=2)
TRIES_MORE = 2  # of what failed at once, as a kept connection does that the other side has closed
BACKOFF: "BackoffConfig" = {
    "init_backoff": timedelta(milliseconds=50),
    "max_backoff": timedelta(seconds=1),
    "base": 2,
}
LIST_AT_ONCE = 1_000  # S3's own page
CODE = re.compile(r"<Code>(\w{1,64})</Code>|\(code: (\w{1,64})\)")  # S3's own words, or obstore's of one deletion
FAILURES = (BaseError, OSError, ValueError)
EMPTY, NO_BUCKET = "InvalidRange", "NoSuchBucket"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a bucket is, and who asks. An empty endpoint is Amazon's; without keys the machine's role is asked for."""

    bucket: str
    endpoint: str = ""
    public_endpoint: str = ""
    region: str = ""
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Listed:
    """One object as a list has it."""

    name: str
    size: int
    age_s: float


class Bucket:
    """One bucket. Everything raises ReceiptsAway."""

    def __init__(self, place: Place, timeout_s: float) -> None:
        self._place = place
        self._timeout_s = timeout_s
        self._stores: dict[str, S3Store] = {}  # by endpoint; two threads that make one at once do no harm
        self._away_until_s = 0.0
        self._why = ""

    @property
    def why_away(self) -> str:
        """Why the last call failed; empty where it did not."""
        return self._why

    def put(self, name: str, content: bytes, headers: dict[str, str]) -> None:
        """The object is there, whole, and is served with these headers."""
        self._ask(lambda store: store.put(name, content, attributes=dict(headers), use_multipart=False))

    def get(self, name: str) -> bytes | None:
        """The whole object; None where there is none."""
        return self._ask(lambda store: _found(lambda: bytes(store.get(name).bytes())))

    def end(self, name: str, size: int) -> bytes | None:
        """Its last bytes; None where there is no such object."""
        options: GetOptions = {"range": {"suffix": size}}
        return self._ask(lambda store: _found(lambda: bytes(store.get(name, options=options).bytes())))

    def delete(self, names: Sequence[str]) -> None:
        """None of them is there."""
        self._ask(lambda store: store.delete(names))

    def listed(self, prefix: str) -> Iterator[list[Listed]]:
        """All objects under the prefix, by name, some at a time."""
        # This asks nobody yet.
        pages = iter(self._store(self._place.endpoint).list(prefix or None, chunk_size=LIST_AT_ONCE))
        while (page := self._ask(lambda _: next(pages, None))) is not None:
            now = datetime.now(UTC)
            yield [Listed(one["path"], one["size"], (now - one["last_modified"]).total_seconds()) for one in page]

    def link(self, method: str, name: str, life_s: int) -> str:
        """An address by which whoever has it asks for this object, by this method and so long."""
        store = self._store(self._place.public_endpoint or self._place.endpoint)
        try:
            return obstore.sign(store, method, name, timedelta(seconds=life_s))  # type: ignore[call-overload,no-any-return]
        except FAILURES:  # it asks nobody, but for the keys of the machine's role, once each endpoint and now and then
            raise ReceiptsAway("there are no keys to sign an address with") from None

    def _store(self, endpoint: str) -> S3Store:
        if endpoint not in self._stores:
            self._stores[endpoint] = self._made(endpoint)
        return self._stores[endpoint]

    def _made(self, endpoint: str) -> S3Store:
        place, timeout = self._place, timedelta(seconds=self._timeout_s)
        given = {
            "endpoint": endpoint,
            "region": place.region,
            "access_key_id": place.access_key,
            "secret_access_key": place.secret_key,
        }
        return S3Store(
            place.bucket,
            config={name: value for name, value in given.items() if value},  # type: ignore[arg-type]
            client_options={
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": min(CONNECT, timeout),
                "timeout": timeout,
            },
            retry_config={"max_retries": TRIES_MORE, "retry_timeout": timeout, "backoff": BACKOFF},
        )

    def _ask(self, work: Callable[[S3Store], T]) -> T:
        now_s = time.monotonic()
        if now_s < self._away_until_s:
            raise ReceiptsAway(self._why)
        if self._why:  # one finds out whether it is back, and nobody waits beside
            self._away_until_s = now_s + self._timeout_s
        try:
            done = work(self._store(self._place.endpoint))
        except FAILURES as error:
            raise self._away(_reason(error)) from None  # with what obstore says, a traceback would name the object
        if self._why:
            self._why, self._away_until_s = "", 0.0
            logger.info("receipts in {} can be reached again", self._place.bucket)
        return done

    def _away(self, why: str) -> ReceiptsAway:
        if not self._why:
            logger.error("receipts in {} can't be reached: {}", self._place.bucket, why)
        self._why = why
        self._away_until_s = time.monotonic() + PAUSE_S
        return ReceiptsAway(why)


def _found(read: Callable[[], bytes]) -> bytes | None:
    """What is read; None where there is no such object. A bucket that is not there is another matter."""
    try:
        return read()
    except FileNotFoundError as error:
        if _code(error) == NO_BUCKET:
            raise
        return None
    except BaseError as error:
        if _code(error) == EMPTY:  # an end was asked for
            return b""
        raise


def _code(error: Exception) -> str:
    """S3's own word for what is wrong; empty where it did not answer."""
    found = CODE.search(str(error))
    return found[1] or found[2] if found else ""


def _reason(error: Exception) -> str:
    if code := _code(error):
        return f"the bucket's server answers {code}"
    return "the bucket's server does not answer in time" if "Timeout" in str(error) else "no answer from the bucket"
