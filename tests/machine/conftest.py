"""The store on which simulations and state machines run fastest.

What must stay true: it is a real server, with the product's own scripts.
"""

from collections.abc import Iterator

import pytest

from tests.servers import ValkeyServer
from ticketing.store.connection import Store


@pytest.fixture(scope="module")
def fast_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A real server that writes no file: it is never killed here."""
    server = ValkeyServer(tmp_path_factory.mktemp("valkey"))
    server.start("--appendonly", "no")
    store = server.store()
    yield store
    store.close()
    server.stop()
