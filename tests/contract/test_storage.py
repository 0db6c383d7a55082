"""Where receipts are: one suite on a folder and on a bucket of a real server, and what a bucket promises besides."""

import hashlib
import re
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from tests.buckets import ACCESS_KEY, BUCKET, SECRET_KEY, BucketServer
from tests.servers import HOST, ID_SECRET, environment, free_port, wait_until
from ticketing.config import Settings
from ticketing.errors import ReceiptsAway
from ticketing.receipts import bucket as bucket_module
from ticketing.receipts import objects
from ticketing.receipts.opening import storage_of
from ticketing.receipts.storage import Cleanup, ReceiptStorage, Usage
from ticketing.sale.identity import Identity

IDENTITY = Identity(ID_SECRET)
PDF = b"%PDF-1.7\nsome pages\n%%EOF\n"
DAY_S = 86_400


def new_id() -> str:
    return IDENTITY.new_purchase_id("gala")


def settings_of(folder: Path, server: BucketServer | None = None, **more: object) -> Settings:
    """Settings of a folder, or of a bucket with a prefix of its own."""
    given: dict[str, object] = {"DATA_DIR": folder, "ID_SECRET": ID_SECRET}
    if server is not None:
        given |= server.settings(RECEIPTS_URL=f"s3://{BUCKET}/{uuid.uuid4().hex}/of-test")
    return Settings(_env_file=None, **{name.lower(): value for name, value in (given | more).items()})


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> ReceiptStorage:
    server = request.getfixturevalue("bucket_server") if request.param == "bucket" else None
    return storage_of(settings_of(tmp_path, server))


@pytest.fixture
def open_bucket(bucket_server: BucketServer, tmp_path: Path) -> Callable[..., Any]:
    """Storage in the bucket, with some settings of one's own."""
    return lambda **more: storage_of(settings_of(tmp_path, bucket_server, **more))


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(message.record["message"]))
    yield lines
    logger.remove(sink)


def away(call: Callable[[], object]) -> str:
    """Why the storage can't be asked."""
    with pytest.raises(ReceiptsAway) as raised:
        call()
    return str(raised.value)


# --- Either of them


def test_a_receipt_that_was_put_is_got_and_another_is_not(storage: ReceiptStorage) -> None:
    purchase_id = new_id()
    assert storage.get(purchase_id) is None
    assert not storage.has(purchase_id)
    storage.put(purchase_id, PDF)
    stored = storage.get(purchase_id)
    assert stored is not None
    assert (stored.pdf, stored.etag) == (PDF, hashlib.sha256(PDF).hexdigest()[:32])
    assert storage.has(purchase_id)
    assert storage.get(new_id()) is None


@pytest.mark.parametrize("torn", [b"", b"%PDF-1.7\nsome pa", PDF[:-3], b"%%EO", PDF + b"\0" * 20])
def test_what_is_torn_counts_as_not_there_and_is_put_right_by_the_next_put(
    storage: ReceiptStorage, torn: bytes
) -> None:
    purchase_id = new_id()
    storage.put(purchase_id, torn)
    assert storage.get(purchase_id) is None
    assert not storage.has(purchase_id)
    storage.put(purchase_id, PDF)
    assert storage.has(purchase_id)


def test_what_is_put_together_is_all_there(storage: ReceiptStorage) -> None:
    pdfs = {new_id(): b"%d pages %%%%EOF" % number for number in range(100)}
    puts = [storage.put_soon(purchase_id, pdf) for purchase_id, pdf in pdfs.items()]
    assert [put.result(30) for put in puts] == [None] * 100
    found = {purchase_id: storage.get(purchase_id) for purchase_id in pdfs}
    assert {purchase_id: stored.pdf for purchase_id, stored in found.items() if stored} == pdfs
    assert storage.usage() == Usage(100, sum(map(len, pdfs.values())), more=False)


def test_many_are_deleted_at_once_those_that_are_not_there_included(storage: ReceiptStorage) -> None:
    ids = [new_id() for _ in range(1_050)]  # more than S3 deletes with one request
    kept = new_id()
    for purchase_id in [*ids[-3:], kept]:
        storage.put(purchase_id, PDF)
    storage.delete_all(ids)
    storage.delete_all(ids[-3:])
    storage.delete_all([])
    assert storage.usage() == Usage(1, len(PDF), more=False)
    assert storage.has(kept)


def test_cleanup_deletes_what_is_old_enough_in_small_steps(storage: ReceiptStorage) -> None:
    for _ in range(7):
        storage.put(new_id(), PDF)
    assert storage.cleanup(DAY_S) == Cleanup(0, 0, more=False)
    assert [storage.cleanup(0, most=3) for _ in range(3)] == [
        Cleanup(3, 3 * len(PDF), more=True),
        Cleanup(3, 3 * len(PDF), more=True),
        Cleanup(1, len(PDF), more=False),
    ]
    assert storage.usage() == Usage(0, 0, more=False)


def test_cleanup_at_exactly_its_limit_says_that_nothing_is_left(storage: ReceiptStorage) -> None:
    for _ in range(3):
        storage.put(new_id(), PDF)
    assert storage.cleanup(0, most=3) == Cleanup(3, 3 * len(PDF), more=False)


def test_a_receipt_is_never_seen_half(storage: ReceiptStorage) -> None:
    purchase_id = new_id()
    versions = [b"%PDF" + bytes([65 + i]) * 200_000 + b"%%EOF" for i in range(2)]
    storage.put(purchase_id, versions[0])
    done, seen = threading.Event(), []

    def look() -> None:
        while not done.is_set():
            stored = storage.get(purchase_id)
            seen.append(None if stored is None else stored.pdf)

    reader = threading.Thread(target=look)
    reader.start()
    for turn in range(50):
        storage.put(purchase_id, versions[turn % 2])
    done.set()
    reader.join(30)
    assert seen
    assert set(seen) <= set(versions)


def test_a_storage_that_is_well_has_nothing_against_a_receipt(storage: ReceiptStorage) -> None:
    storage.check()
    assert storage.usage() == Usage(0, 0, more=False)


# --- A bucket


def test_the_names_of_objects_fetch_no_receipt(open_bucket: Callable[..., Any]) -> None:
    """A list or a log of the bucket holds them, and would hold what fetches each receipt for ever."""
    ours, others = open_bucket(), open_bucket(ID_SECRET="another id secret, of another service")
    ids = [new_id() for _ in range(2_000)]
    names = {ours.name(purchase_id) for purchase_id in ids}
    assert len(names) == len(ids)
    assert not any(purchase_id.partition(".")[2][:8] in name for purchase_id in ids for name in names)
    assert not {name.rpartition("/")[2] for name in names} & {others.name(one).rpartition("/")[2] for one in ids}
    assert len({name.rpartition("/")[0] for name in names}) > 200


def test_two_services_share_a_bucket_by_their_prefixes(open_bucket: Callable[..., Any]) -> None:
    one, other = open_bucket(), open_bucket()
    purchase_id = new_id()
    one.put(purchase_id, PDF)
    assert not other.has(purchase_id)
    assert other.cleanup(0).deleted == 0
    assert one.has(purchase_id)


def test_a_bucket_without_a_prefix_is_listed_and_cleaned_too(open_bucket: Callable[..., Any]) -> None:
    storage = open_bucket(RECEIPTS_URL=f"s3://{BUCKET}")
    purchase_id = new_id()
    storage.put(purchase_id, PDF)
    assert storage.usage().files >= 1
    assert storage.get(purchase_id).pdf == PDF
    storage.delete_all([purchase_id])


def test_of_very_many_some_are_counted(open_bucket: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_bucket()
    for _ in range(5):
        storage.put(new_id(), PDF)
    monkeypatch.setattr(bucket_module, "LIST_AT_ONCE", 2)
    monkeypatch.setattr(objects, "COUNTED_MOST", 4)
    assert storage.usage() == Usage(4, 4 * len(PDF), more=True)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"RECEIPTS_S3_SECRET_KEY": "another-secret"}, "the bucket's server answers SignatureDoesNotMatch"),
        ({"RECEIPTS_S3_ACCESS_KEY": "nobody"}, "the bucket's server answers InvalidAccessKeyId"),
        ({"RECEIPTS_URL": "s3://no-such-bucket"}, "the bucket's server answers NoSuchBucket"),
        ({"RECEIPTS_S3_ENDPOINT": f"http://{HOST}:1"}, "no answer from the bucket"),
    ],
)
def test_a_bucket_that_can_not_be_asked_is_not_one_without_receipts(
    open_bucket: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    said: list[str],
    wrong: dict[str, object],
    why: str,
) -> None:
    monkeypatch.setattr(bucket_module, "PAUSE_S", 0)
    purchase_id = new_id()
    calls: list[Callable[[Any], object]] = [
        lambda storage: storage.get(purchase_id),
        lambda storage: storage.has(purchase_id),
        lambda storage: storage.put(purchase_id, PDF),
        lambda storage: storage.put_soon(purchase_id, PDF).result(30),
        lambda storage: storage.delete_all([purchase_id]),
        lambda storage: storage.usage(),
        lambda storage: storage.cleanup(0),
    ]
    storage = open_bucket(**wrong)
    assert {away(lambda call=call: call(storage)) for call in calls} == {why}
    assert away(storage.check) == why
    assert said == [f"receipts in {'no-such-bucket' if 'NoSuch' in why else BUCKET} can't be reached: {why}"]


class _DeletesNothing(BaseHTTPRequestHandler):
    """S3's answer to who may not delete: 200, and an error for each object."""

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        denied = "<Code>AccessDenied</Code><Message>Access Denied</Message>"
        errors = "".join(f"<Error><Key>{key}</Key>{denied}</Error>" for key in re.findall("<Key>(.*?)</Key>", asked))
        body = f"<DeleteResult>{errors}</DeleteResult>".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_objects_that_may_not_be_deleted_are_said_to_be_that(open_bucket: Callable[..., Any]) -> None:
    with ThreadingHTTPServer((HOST, 0), _DeletesNothing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        storage = open_bucket(RECEIPTS_S3_ENDPOINT=f"http://{HOST}:{server.server_port}")
        why = away(lambda: storage.delete_all([new_id(), new_id()]))
        server.shutdown()
    assert why == "the bucket's server answers AccessDenied"


def test_what_is_said_of_a_bucket_names_no_receipt_and_no_key(open_bucket: Callable[..., Any], said: list[str]) -> None:
    storage, purchase_id = open_bucket(RECEIPTS_S3_SECRET_KEY="another-secret"), new_id()
    with pytest.raises(ReceiptsAway) as raised:
        storage.put(purchase_id, PDF)
    told = repr((raised.value, raised.value.__cause__, raised.value.__suppress_context__, said, storage._bucket._place))
    for secret in (purchase_id, storage.name(purchase_id).rpartition("/")[2], "another-secret", ACCESS_KEY, SECRET_KEY):
        assert secret not in told
    assert raised.value.__suppress_context__


class SilentServer:
    """Takes connections, and answers none; counts them."""

    def __init__(self) -> None:
        self.taken: list[socket.socket] = []
        self._listener = socket.create_server((HOST, 0))
        self.url = f"http://{HOST}:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        with suppress(OSError):
            while True:
                self.taken.append(self._listener.accept()[0])

    def stop(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for one in (self._listener, *self.taken):
            one.close()


@pytest.fixture
def silent() -> Iterator[SilentServer]:
    server = SilentServer()
    yield server
    server.stop()


def test_while_a_bucket_is_away_nobody_waits_for_each_call(
    open_bucket: Callable[..., Any], silent: SilentServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_module, "PAUSE_S", 3600)
    storage = open_bucket(RECEIPTS_S3_ENDPOINT=silent.url, RECEIPTS_S3_TIMEOUT_S=0.3)
    assert away(lambda: storage.get(new_id())) == "the bucket's server does not answer in time"
    taken = len(silent.taken)
    assert taken >= 1
    for _ in range(200):
        away(lambda: storage.get(new_id()))
    puts = [storage.put_soon(new_id(), PDF) for _ in range(64)]
    assert [type(put.exception(30)) for put in puts] == [ReceiptsAway] * 64
    assert len(silent.taken) == taken


@pytest.mark.timeout(60)
def test_one_finds_out_whether_a_bucket_is_back_and_the_others_do_not_wait_beside(
    open_bucket: Callable[..., Any], silent: SilentServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_module, "PAUSE_S", 0)
    storage = open_bucket(RECEIPTS_S3_ENDPOINT=silent.url, RECEIPTS_S3_TIMEOUT_S=20)
    storage._bucket._away("it was away before")
    tries = threading.Thread(target=lambda: away(lambda: storage.get(new_id())))
    tries.start()
    wait_until(lambda: len(silent.taken) == 1, 10, "one asks")
    assert {away(lambda: storage.get(new_id())) for _ in range(20)} == {"it was away before"}
    assert len(silent.taken) == 1
    silent.stop()
    tries.join(30)


def test_receipts_of_a_job_are_put_side_by_side(open_bucket: Callable[..., Any], silent: SilentServer) -> None:
    """One after the other, each would wait for a round trip, and 64 of them for a second or two."""
    storage = open_bucket(RECEIPTS_S3_ENDPOINT=silent.url, RECEIPTS_S3_TIMEOUT_S=60)
    puts = [storage.put_soon(new_id(), PDF) for _ in range(64)]
    wait_until(lambda: len(silent.taken) == objects.PUT_AT_ONCE, 20, "as many are under way as may be")
    assert not any(put.done() for put in puts)
    waiting = [put for put in puts if not put.cancel()]
    silent.stop()
    assert {type(put.exception(30)) for put in waiting} == {ReceiptsAway}


def test_a_bucket_that_is_back_is_said_to_be_and_takes_receipts(
    open_bucket: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.setattr(bucket_module, "PAUSE_S", 0)
    storage, purchase_id = open_bucket(), new_id()
    place = storage._bucket._place
    monkeypatch.setattr(storage._bucket, "_place", bucket_module.Place(BUCKET, f"http://{HOST}:1", "", "x", "x", "x"))
    away(lambda: storage.put(purchase_id, PDF))
    away(storage.check)
    monkeypatch.setattr(storage._bucket, "_place", place)
    storage.check()
    storage.put(purchase_id, PDF)
    assert said == [f"receipts in {BUCKET} can't be reached: no answer from the bucket",
                    f"receipts in {BUCKET} can be reached again"]  # fmt: skip
    assert storage.usage() == Usage(1, len(PDF), more=False)  # what was written to see whether it goes is no receipt


def test_a_process_has_a_bounded_number_of_calls_under_way(
    bucket_server: BucketServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "ASK_AT_ONCE", 3)
    told: list[str] = []

    def ask_another_meanwhile(work: Callable[[], Any]) -> Any:
        try:
            storage.has(new_id())
        except ReceiptsAway as error:
            told.append(str(error))
        return work()

    storage = storage_of(settings_of(tmp_path, bucket_server), ask_another_meanwhile)
    assert not storage.has(new_id())
    assert told == ["too many ask the bucket at once"]
    assert not storage.has(new_id())  # none is counted for ever


# --- Addresses for a while


def test_a_link_gives_the_receipt_to_whoever_has_it(
    open_bucket: Callable[..., Any], bucket_server: BucketServer
) -> None:
    storage, purchase_id = open_bucket(), new_id()
    storage.put(purchase_id, PDF)
    link = storage.link(purchase_id, "GET", 60)
    status, headers, body = bucket_server.ask("GET", link)
    assert (status, body) == (200, PDF)
    assert headers["content-type"] == "application/pdf"
    assert headers["content-disposition"] == 'inline; filename="tickets-gala.pdf"'
    assert headers["cache-control"] == "private, no-cache"
    status, headers, body = bucket_server.ask("HEAD", storage.link(purchase_id, "HEAD", 60))
    assert (status, headers["content-length"], body) == (200, str(len(PDF)), b"")
    assert purchase_id.partition(".")[2] not in link
    assert SECRET_KEY not in link


def test_a_link_that_was_tampered_with_gives_nothing(
    open_bucket: Callable[..., Any], bucket_server: BucketServer
) -> None:
    storage, mine, anothers = open_bucket(), new_id(), new_id()
    for purchase_id in (mine, anothers):
        storage.put(purchase_id, PDF)
    link = storage.link(mine, "GET", 60)
    last = "0" if link[-1] != "0" else "1"
    tampered = [
        link.replace(storage.name(mine), storage.name(anothers)),
        link.replace("X-Amz-Expires=60", "X-Amz-Expires=3600"),
        link[:-1] + last,
        link.partition("?")[0],
        link.partition("&X-Amz-Signature")[0],  # Amazon answers 403, this server 400
    ]
    assert len({link, *tampered}) == 6
    for other in tampered:
        status, _, body = bucket_server.ask("GET", other)
        assert (status in {400, 403}, PDF in body) == (True, False), other
    for method in ("PUT", "DELETE", "HEAD"):
        assert bucket_server.ask(method, link)[0] == 403
    assert bucket_server.ask("GET", link)[0] == 200


def test_a_link_is_good_for_its_time_and_no_longer(
    open_bucket: Callable[..., Any], bucket_server: BucketServer
) -> None:
    storage, purchase_id = open_bucket(), new_id()
    storage.put(purchase_id, PDF)
    link = storage.link(purchase_id, "GET", 1)
    until_s = time.monotonic() + 20
    while bucket_server.ask("GET", link)[0] != 403:
        assert time.monotonic() < until_s
        time.sleep(0.1)
    status, _, body = bucket_server.ask("GET", link)
    assert status == 403
    assert b"expired" in body
    assert storage.has(purchase_id)


def test_a_bucket_is_private(open_bucket: Callable[..., Any], bucket_server: BucketServer) -> None:
    storage, purchase_id = open_bucket(), new_id()
    storage.put(purchase_id, PDF)
    for address in (f"/{BUCKET}/{storage.name(purchase_id)}", f"/{BUCKET}", f"/{BUCKET}?list-type=2"):
        status, _, body = bucket_server.ask("GET", address)
        assert (status, PDF in body, b"<Key>of" in body) == (403, False, False)


def test_a_link_leads_to_where_buyers_reach_the_bucket(open_bucket: Callable[..., Any]) -> None:
    storage = open_bucket(RECEIPTS_S3_PUBLIC_ENDPOINT="https://receipts.example.com")
    assert storage.link(new_id(), "GET", 60).startswith(f"https://receipts.example.com/{BUCKET}/")


def test_without_keys_to_sign_with_there_is_no_link_and_no_other_error(
    open_bucket: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a machine's role are asked for by each endpoint's store, so the bucket may be well meanwhile."""
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://{HOST}:1")
    storage = open_bucket(RECEIPTS_S3_ACCESS_KEY="", RECEIPTS_S3_SECRET_KEY="", RECEIPTS_S3_TIMEOUT_S=1)
    assert away(lambda: storage.link(new_id(), "GET", 60)) == "there are no keys to sign an address with"
    assert storage._bucket.why_away == ""


def test_a_folder_has_no_links(tmp_path: Path) -> None:
    assert storage_of(settings_of(tmp_path)).link(new_id(), "GET", 60) is None


# --- What it costs others


@pytest.mark.parametrize("module", ["ticketing.app", "workers.jobs"])
def test_a_service_with_a_folder_does_not_load_what_speaks_s3(tmp_path: Path, module: str) -> None:
    assert _loaded(tmp_path, module) == "False"
    url = {"RECEIPTS_URL": f"s3://{BUCKET}", "RECEIPTS_S3_ENDPOINT": f"http://{HOST}:{free_port()}"}
    assert _loaded(tmp_path, module, **url) == "True"


def _loaded(folder: Path, module: str, **settings: str) -> str:
    code = (
        f"import sys, {module}; from ticketing import config; from ticketing.receipts.opening import storage_of;"
        "storage_of(config.load()); print('obstore' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment(folder, **settings),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()
