"""A seeded simulation of the outage protocol: the product's own scripts and outage code on a network that fails.

    python -m tests.machine.outage SEEDS [FIRST]      a long run; a failing seed can be run again alone

Processes are greenlets that stop wherever the real ones could be overtaken, lose a reply or die: before a command is
sent, before its reply is taken, before and after an fsync. One of them at a time goes on, as the seed says.
"""
