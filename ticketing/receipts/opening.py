"""Which storage the settings ask for: a folder of this host, or a bucket that all hosts share.

What must stay true: where it is a folder, obstore is not imported: it would cost each process memory and time.
"""

from typing import TYPE_CHECKING

from ticketing.config import BUCKET_ADDRESS, Settings
from ticketing.receipts.files import ReceiptFiles
from ticketing.receipts.storage import Offload, ReceiptStorage, directly

if TYPE_CHECKING:
    from ticketing.receipts.bucket import Bucket


def storage_of(settings: Settings, offload: Offload = directly) -> ReceiptStorage:
    """The storage of these settings; asks nobody yet. `offload` takes what waits for a network to a thread."""
    if not settings.receipts_url:
        return ReceiptFiles(settings.receipts_dir)
    from ticketing.receipts.objects import ReceiptObjects  # noqa: PLC0415

    return ReceiptObjects(bucket_of(settings), prefix_of(settings), settings.id_secret, offload)


def bucket_of(settings: Settings) -> "Bucket":
    """The bucket of RECEIPTS_URL, which must be set."""
    from ticketing.receipts.bucket import Bucket, Place  # noqa: PLC0415

    found = BUCKET_ADDRESS.fullmatch(settings.receipts_url)
    assert found is not None, "the settings were checked"
    place = Place(
        found[1],
        settings.receipts_s3_endpoint,
        settings.receipts_s3_public_endpoint,
        settings.receipts_s3_region,
        settings.receipts_s3_access_key,
        settings.receipts_s3_secret_key,
    )
    return Bucket(place, settings.receipts_s3_timeout_s)


def prefix_of(settings: Settings) -> str:
    """What the names of RECEIPTS_URL's objects begin with, without a slash at the end; empty where they don't."""
    found = BUCKET_ADDRESS.fullmatch(settings.receipts_url)
    return (found[2] or "") if found else ""
