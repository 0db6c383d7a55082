"""Only here is HTTP spoken. Each module is one group of calls; problems.py is the table from errors to answers."""
