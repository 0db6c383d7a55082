"""One command starts every part on one machine: store, web, receipt workers, sweeper. Nothing here sells."""
