"""No Redis, no oversell. Leases, the reserve, the journal and its settlement live here, and the voids.

Today the sale uses voids.py alone. The rest (from keeper.py down) is proven by its own tests and not yet wired into the
counter: design.md, "The fallback plan", says what is missing.
"""
