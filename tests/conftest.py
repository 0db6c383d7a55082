"""Fixtures for every test: a real server, and a store on fakeredis and on that server.

What must stay true: a test that gets a server or a store finds it empty.
"""

from collections.abc import Iterator

import pytest

from tests.buckets import BucketServer
from tests.servers import ValkeyServer, fake_store
from ticketing.store.connection import Store


@pytest.fixture(scope="session")
def running_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """The one real server of a test run. Tests ask for `valkey_server`, which is emptied before each of them."""
    server = ValkeyServer(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def valkey_server(running_server: ValkeyServer) -> ValkeyServer:
    """A real server, empty. A test that kills or stops one starts its own `ValkeyServer(tmp_path)`."""
    store = running_server.store()
    store.read(("FLUSHALL",), ("SCRIPT", "FLUSH"), ("SLOWLOG", "RESET"))
    store.close()
    return running_server


@pytest.fixture
def real_store(valkey_server: ValkeyServer) -> Iterator[Store]:
    """A store on the real server, empty."""
    store = valkey_server.store()
    yield store
    store.close()


@pytest.fixture(scope="session")
def bucket_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BucketServer]:
    """The one S3 server of a test run; each test has a prefix of its own there. None of them kills it."""
    server = BucketServer(tmp_path_factory.mktemp("bucket"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["fakeredis", "valkey"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """One suite on both: an empty store on fakeredis, then on the real server."""
    if request.param == "valkey":
        yield request.getfixturevalue("real_store")
    else:
        made = fake_store()
        yield made
        made.close()
