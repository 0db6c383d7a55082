"""Runs of the simulation, as the product is or without one of its rules.

What must stay true: a run leaves no file, and nothing of the product changed.
"""

import contextlib
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from loguru import logger

from tests.machine.outage.world import World
from ticketing.outage import breaker
from ticketing.store.connection import Store

STEPS = 5_000

Rule = Callable[[World], "contextlib.AbstractContextManager[object]"]


def run_one(
    store: Store, folder: Path, seed: int, *, back: bool = False, without: Rule | None = None
) -> tuple[list[str], Counter[str]]:
    """The violations of one run, and what it met."""
    folder.mkdir(parents=True)
    logger.disable("ticketing")
    try:
        # Whether a store is believed again must not depend on how fast this machine is.
        with patch.object(breaker, "BELIEVED_LATEST_S", 0.0), patch.object(breaker, "SOON_S", 0.0):
            world = World(store, folder, seed, back=back)
            with without(world) if without else contextlib.nullcontext():
                return world.run(STEPS), world.counts
    finally:
        logger.enable("ticketing")
        shutil.rmtree(folder)
