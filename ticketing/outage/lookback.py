"""The newest purchase that this process answered, sale by sale: a store that does not hold it byte for byte went back.

What must stay true: an answered purchase is never voided, so that a difference always means an older store.
"""


class Answered:
    """What the store told this process last, and must still hold."""

    def __init__(self) -> None:
        self._newest: dict[tuple[str, str], tuple[int, str, str]] = {}  # sold_at_ms, purchase id, record

    def saw(self, event_id: str, seed: str, purchase_id: str, record: str) -> None:
        """The store answered this record: sold or replayed."""
        sold_at_ms = int(record.split("|", 2)[1])
        newest = self._newest.get((event_id, seed))
        if newest is None or sold_at_ms >= newest[0]:
            self._newest[event_id, seed] = (sold_at_ms, purchase_id, record)

    def newest(self, event_id: str, seed: str) -> tuple[str, str]:
        """Purchase id and record; two empty texts where nothing was answered yet."""
        return self._newest.get((event_id, seed), (0, "", ""))[1:]

    def forget(self, event_id: str, seed: str) -> None:
        """An operator decided: the store as it is now is the truth."""
        self._newest.pop((event_id, seed), None)
