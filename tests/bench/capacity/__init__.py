"""How much of what a sale of a given size needs, by the figures that the benchmark measured.

What must stay true: no cost of ours stands here as a number. It is read from tests/bench/results, or it is one of
`figures.Assumed`, which says of each why it is assumed and is printed beside the table (and sale.READ_SHARE).
"""
