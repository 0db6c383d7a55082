"""rq-dashboard, loaded without arrow: 2 MB a web process for one line of it, which is here instead.

What must stay true: arrow can be imported by whoever wants it; a time is shown as arrow would.
"""

import sys
from datetime import UTC, datetime
from types import ModuleType

with_arrow = "arrow" in sys.modules
if not with_arrow:
    sys.modules["arrow"] = ModuleType("arrow")
try:
    from rq_dashboard import default_settings, web
finally:
    if not with_arrow:
        del sys.modules["arrow"]

__all__ = ["default_settings", "web"]


def _as_utc(moment: datetime | None) -> str | None:
    """A moment that names no zone is one of UTC: RQ makes both."""
    if moment is None:
        return None
    return (moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


web.serialize_date = _as_utc
