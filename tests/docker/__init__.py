"""The containers as they are shipped, built and run on a real engine: `make test-docker`, not part of `make test`."""
