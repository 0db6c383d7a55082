"""No Redis, no oversell. What a purchase with an unknown outcome leaves to be done lives here."""
