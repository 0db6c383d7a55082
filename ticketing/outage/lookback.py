"""The newest purchase that this process answered, sale by sale: a store that does not hold it byte for byte went back.

What must stay true: an answered purchase is never voided, so that a difference always means an older store.
"""


class Answered:
    """What the store told this process last, and must still hold."""

    def __init__(self) -> None:
        self._newest: dict[tuple[str, str], tuple[str, str]] = {}  # purchase id, record

    def saw(self, event_id: str, seed: str, purchase_id: str, record: str, *, sold_now: bool) -> None:
        """The store answered this record. One that it repeats is older than what was sold now, whatever its time says:

        that of a settled purchase was told by a host's clock.
        """
        if sold_now or (event_id, seed) not in self._newest:
            self._newest[event_id, seed] = (purchase_id, record)

    def newest(self, event_id: str, seed: str) -> tuple[str, str]:
        """Purchase id and record; two empty texts where nothing was answered yet."""
        return self._newest.get((event_id, seed), ("", ""))

    def forget(self, event_id: str, seed: str) -> None:
        """An operator decided: the store as it is now is the truth."""
        self._newest.pop((event_id, seed), None)
