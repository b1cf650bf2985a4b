"""What the product is measured beside, each in a process of its own; see `bench.peer`."""
