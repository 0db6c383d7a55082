"""What a server says of itself, and whether it takes our scripts: for who looks at it before a sale.

What must stay true: nothing of a sale is changed. Loading a script is what its first run would do.
"""

from ticketing.errors import StoreError
from ticketing.store import keys, scripts
from ticketing.store.connection import Store


def told_by(store: Store) -> dict[str, str]:
    """INFO, whole. Raises StoreError."""
    told = store.one("INFO")
    if isinstance(told, dict):
        return {str(name): str(value) for name, value in told.items()}
    lines = (line.partition(":") for line in str(told).splitlines())
    return {name: value.strip() for name, _, value in lines if value}


def needs_every_node(store: Store) -> bool:
    """Whether a cluster's node refuses everything while another's slots are served by nobody. Raises StoreError."""
    return list(store.one("CONFIG", "GET", "cluster-require-full-coverage")) != ["cluster-require-full-coverage", "no"]


def refused_scripts(store: Store) -> dict[str, str]:
    """The scripts that the server does not take, and why not."""
    refused: dict[str, str] = {}
    for path in sorted(scripts.FOLDER.glob("*.lua")):
        try:
            store.one("SCRIPT", "LOAD", scripts.load(path.stem, store.shebang).text)
        except StoreError as error:
            refused[path.stem] = str(error)
    return refused


def is_sold_with(store: Store, secret_fingerprint: str) -> bool:
    """Whether nobody sells from this store with another id secret. Raises StoreError."""
    return store.one("GET", keys.ID_SECRET) in (None, secret_fingerprint)
