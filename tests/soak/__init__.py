"""The soak: a registry under mixed load for a long time, and what it uses meanwhile. Not part of `make test`."""
