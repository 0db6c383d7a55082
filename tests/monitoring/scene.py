"""What is sold while Prometheus looks: two events, one of them soon sold out."""

POOLS = {"rock": 20_000, "gala": 3}
SOLD = 30
