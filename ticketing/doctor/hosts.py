"""The other hosts that sell from this store: whether one has this host's id, and whether all have the same secrets."""

from collections.abc import Iterator

from ticketing.config import Settings
from ticketing.doctor.finding import Finding, fail, ok, warn
from ticketing.outage import inspection
from ticketing.sale.identity import Identity
from ticketing.store.connection import Store
from ticketing.store.hosts import Contact, HostStore, State

SHARED = ("ADMIN_TOKEN", "SIGNING_KEY")  # in the order of their fingerprints


def others(store: Store, settings: Settings) -> Iterator[Finding]:
    """Who gives signs of life. Raises StoreError."""
    living = HostStore(store).contacts().living()
    copied = sorted({one.host_id for one in living if one.telling.state == State.COPIED})
    for host_id in copied:
        yield fail(
            "host id",
            f"two hosts use the id {host_id}",
            "A journal folder was copied. One of the two has no reserve; no ticket is sold twice.",
            "See the runbook, A host id is used twice.",
        )
    mine = inspection.host_id(settings.journal_dir)
    hosts = {one.host_id for one in living}
    differing = _differing([one for one in living if one.host_id != mine], settings)
    if differing:
        # Tickets of one of the two are turned away at a gate that knows the other's key.
        yield (fail if "SIGNING_KEY" in differing else warn)(
            "other hosts",
            f"{' and '.join(differing)} differ from another host's"
            if len(differing) > 1
            else f"{differing[0]} differs from another host's",
            "An operator's session or token works on some hosts only (ADMIN_TOKEN); the gate must know both public "
            "keys, and a receipt that is drawn again may carry another code (SIGNING_KEY).",
            "Give every host the same, and start it again.",
        )
    included = ", this one included" if mine in hosts else ""
    yield ok("hosts", f"{len(hosts):,} {'host sells' if len(hosts) == 1 else 'hosts sell'} from this store{included}")


def _differing(living: list[Contact], settings: Settings) -> list[str]:
    """Which of what all should have in common another host has otherwise; what is not known does not differ."""
    if not (settings.id_secret and settings.admin_token and settings.signing_key):
        return []
    mine = Identity(settings.id_secret).fingerprints_of(settings.admin_token, settings.signing_key).split(".")
    told = [one.telling.keys.split(".") for one in living if one.telling.keys]
    return [
        name for at, name in enumerate(SHARED) if any(len(theirs) > at and theirs[at] != mine[at] for theirs in told)
    ]
