"""Looks at the group's nodes all the time: what was acknowledged must be on whichever node the sentinels name.

What must stay true: a look counts only if the same node was named before and after it, took itself for the primary, and
answered; it is compared with what buyers had been told before it began. Nothing here asks the code under test.
"""

import threading
from collections.abc import Sequence

import redis

from tests.chaos.history import History, Told
from tests.groups import Node, SentinelGroup
from ticketing.store import keys

EVERY_S = 0.2
FROM_THE_STORE = frozenset({Told.SOLD, Told.REPLAYED})


class Watch:
    """One thread that looks."""

    def __init__(self, group: SentinelGroup, history: History, event_ids: Sequence[str]) -> None:
        self.looks = 0
        self.missing: set[str] = set()  # purchases that were sold, and once were not there
        self.strayed: set[str] = set()  # purchases of which a node knew that was deposed, and the primary did not
        self._group = group
        self._history = history
        self._keys = [keys.of_event(event_id).purchases for event_id in event_ids]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "the watch never came to an end"

    def _run(self) -> None:
        while not self._ended.wait(EVERY_S):
            told, named = self._told(), self._group.named()
            held_by_others = {name for node in self._group.nodes if node.port != named for name in self._held(node)}
            for node in self._group.nodes:
                if node.port != named or not (held := self._held(node)):
                    continue
                if node.is_primary() and self._group.named() == named:
                    self.looks += 1
                    self.missing |= told - held
                    self.strayed |= held_by_others - held  # a replica was looked at before: it knows no more

    def _told(self) -> set[str]:
        """The purchases that buyers know as sold by now."""
        return {one.purchase_id for one in self._history.tries[:] if one.told in FROM_THE_STORE}

    def _held(self, node: Node) -> set[str]:
        if not node.is_running or node.is_suspended:
            return set()
        try:
            return {str(purchase_id) for key in self._keys for purchase_id in self._names(node, key)}
        except redis.RedisError:  # it was killed or stopped just now
            return set()

    @staticmethod
    def _names(node: Node, key: str) -> Sequence[object]:
        names = node.ask("HKEYS", key)
        assert isinstance(names, list)
        return names
