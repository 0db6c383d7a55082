"""Fixtures for every test: a real server, and a store on fakeredis, on that server, and for some on a real cluster.

What must stay true: a test that gets a server or a store finds it empty.
"""

from collections.abc import Iterator

import pytest

from tests.buckets import BucketServer
from tests.clusters import ValkeyCluster
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


@pytest.fixture(scope="session")
def running_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    """The one real cluster of a test run: three primaries. A test that breaks one starts its own `ValkeyCluster`."""
    cluster = ValkeyCluster(tmp_path_factory.mktemp("cluster"))
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def cluster_store(running_cluster: ValkeyCluster) -> Iterator[Store]:
    """A store on the real cluster, empty."""
    store = running_cluster.store()
    store.read(("FLUSHALL",), ("SCRIPT", "FLUSH"))
    yield store
    store.close()


REAL = {"valkey": "real_store", "cluster": "cluster_store"}


@pytest.fixture(params=["fakeredis", *REAL])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """One suite on all: an empty store on fakeredis, on the real server, and on a cluster where that was asked for."""
    if request.param in REAL:
        yield request.getfixturevalue(REAL[request.param])
    else:
        made = fake_store()
        yield made
        made.close()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "on_cluster: whoever asks for a store is asked on a cluster too")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that says nothing of clusters needs none: what differs lies below the commands that it sends."""
    items[:] = [item for item in items if not _is_on_cluster(item) or item.get_closest_marker("on_cluster")]


def _is_on_cluster(item: pytest.Item) -> bool:
    return hasattr(item, "callspec") and item.callspec.params.get("store") == "cluster"
