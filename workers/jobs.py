"""The RQ jobs, by the dotted names that the queue knows: thin, they hand on to the renderer of this process."""

from functools import cache

from ticketing import config
from workers.rendering import Rendering, build


def render_receipts(event_id: str, purchase_ids: list[str]) -> None:
    """Every receipt of these purchases that is still due is stored afterwards, or stays in the outbox."""
    _rendering().render(event_id, purchase_ids)


def warm_up() -> None:
    """What the first job would have to wait for is done."""
    _rendering().warm_up()


@cache
def _rendering() -> Rendering:
    return build(config.load())
