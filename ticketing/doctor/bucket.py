"""The bucket of receipts, where there is one: it takes, shows, lists and deletes objects, and does so for nobody else.

What must stay true: nothing is left in it, and what is not there is told apart from what may not be read.
"""

import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ticketing.config import Settings
from ticketing.doctor.asking import ask
from ticketing.doctor.finding import Finding, fail, ok
from ticketing.errors import ReceiptsAway
from ticketing.receipts.opening import bucket_of, prefix_of

if TYPE_CHECKING:
    from ticketing.receipts.bucket import Bucket

CHECK = "bucket of receipts"
LINK_S = 60
CONTENT = b"written by the doctor"
RIGHTS = (
    "The service's keys need s3:GetObject, s3:PutObject, s3:DeleteObject on its objects, s3:ListBucket on the bucket."
)


def bucket(settings: Settings) -> Iterator[Finding]:
    """Nothing where receipts are in a folder: its disk is looked at elsewhere."""
    if not settings.receipts_url:
        return
    trial = _Trial(settings)
    try:
        trial.run()
    except ReceiptsAway as error:
        means = "Receipts are pending until it is mended; purchases go on."
        found = f"{settings.receipts_url}: an object could not be {trial.verb}: {error}"
        yield fail(CHECK, found, means, f"Look at RECEIPTS_URL and RECEIPTS_S3_*. {RIGHTS}")
        return
    if trial.open_to:
        yield fail(
            CHECK,
            f"{settings.receipts_url} lets everybody {trial.open_to}",
            "Receipts are tickets: whoever fetches one can enter with it.",
            "Make the bucket private, before anything is sold.",
        )
    else:
        yield ok(CHECK, f"{settings.receipts_url} takes, shows, lists and deletes objects, for this service alone")


class _Trial:
    """One object's life."""

    def __init__(self, settings: Settings) -> None:
        prefix = prefix_of(settings)
        self._prefix = f"{prefix}/" if prefix else ""
        self._bucket = bucket_of(settings)
        self.verb = ""
        self.open_to = ""

    def run(self) -> None:
        """Written, read, deleted. Raises ReceiptsAway; then `verb` says what could not be done."""
        name = f"{self._prefix}.doctor-{secrets.token_hex(8)}"
        self.verb = "written"
        self._bucket.put(name, CONTENT, {})
        self.verb = "read"
        if self._bucket.get(name) != CONTENT:
            raise ReceiptsAway("it holds something else")
        self.open_to = _open_to_everybody(self._bucket, name)
        self.verb = "deleted"
        self._bucket.delete([name])
        self.verb = "told to be gone"
        if self._bucket.end(name, 1) is not None:
            raise ReceiptsAway("it is still there")
        self.verb = "listed"
        next(self._bucket.listed(self._prefix), None)


def _open_to_everybody(bucket: "Bucket", name: str) -> str:
    """What can be done without a key; empty where nothing can, as far as it is to be seen from here."""
    address = bucket.link("GET", name, LINK_S).partition("?")[0]
    for deed, url in (("read objects", address), ("list it", address.removesuffix(name))):
        try:
            status, _ = ask(url)
        except OSError:
            continue
        if status == 200:
            return deed
    return ""
