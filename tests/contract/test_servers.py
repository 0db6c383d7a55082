"""The shared fixtures themselves: what every other test stands on."""

from pathlib import Path

from tests.servers import ValkeyServer
from ticketing.store.connection import Store


def test_a_store_is_empty_and_answers(store: Store) -> None:
    assert store.one("DBSIZE") == 0
    store.one("SET", "left", "behind")


def test_what_one_test_leaves_behind_no_other_finds(store: Store) -> None:
    assert store.one("GET", "left") is None
    store.one("SET", "left", "behind")


def test_a_killed_server_comes_back_with_what_it_answered(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path)
    server.start()
    try:
        before = server.store()
        before.one("SET", "kept", "1")
        before.close()
        server.kill()
        server.start()
        after = server.store()
        assert after.one("GET", "kept") == "1"
        assert after.one("CONFIG", "GET", "appendfsync") == ["appendfsync", "always"]
        after.close()
    finally:
        server.stop()
