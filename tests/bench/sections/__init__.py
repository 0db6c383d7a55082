"""One idea a file: `measure(sitting)` starts what it needs, measures in turn, and records what it found."""
