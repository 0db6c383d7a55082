"""Measuring: what each part costs beside its peers, and the raw results behind the README's figures.

    python -m tests.bench --help                 every target of issue 5 in one sitting (make bench)
    python -m tests.bench profile                where a web process's CPU goes under load
    python -m tests.bench.receipts               what a receipt costs, by each way of drawing it

`sections` hold one target each; they start `contestants`, load them by `wrk` or by a `crew` of our own generators, and
record in a `sitting` what `targets` judges and `report` shows.

What must stay true: what is compared runs in one sitting, in turn, with the same settings; a run with one unwanted
answer counts for nothing; no time that is measured here is ever asserted by a test.
"""
