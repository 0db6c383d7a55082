"""A sale on more than one machine's servers: what fails between them, and what it must not cost."""
