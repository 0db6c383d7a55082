"""The load tool: a crowd that buys from a running service, and a verdict on what came of it.

    python -m tests.load --help

One process of ours (`__main__`, `suite`, `rehearsal`) leads; it starts load processes (`crew`, `process`), in which
Locust's users are the buyers (`buyer`); each round of a run (`plan`) leaves a `Tally`; `verdict` judges them with what
the service says of itself (`target`); `table` and `page` show it.

What must stay true: it talks to the host that it was pointed at, and to no other: no proxy, no redirect, no telemetry,
no web interface; Locust, which patches the process that imports it, is imported in load processes only; whatever was
started is ended; a purchase id, its buyer's secret, is neither shown nor kept.
"""
