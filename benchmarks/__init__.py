"""Every figure this project states, measured beside its peers in one run: `make bench`."""
