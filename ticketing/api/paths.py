"""The part of a path that names an event or a purchase: whatever was sent, so that the call can say it knows none.

What must stay true: `/buy/`, `/buy/a/b` and `/buy/a%0A` are answered like any other unknown event. Werkzeug's own
converters match none of them, and would leave the answer to chance.
"""

from werkzeug.routing import BaseConverter


class Text(BaseConverter):
    """Any characters, slashes and line feeds included, and none at all: `<text:event_id>`."""

    part_isolating = False
    regex = r"(?s:.*)"
