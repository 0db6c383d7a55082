"""A ticket is sold once. Identity, group commit, refusals and the audit live here; no Redis command and no HTTP."""
