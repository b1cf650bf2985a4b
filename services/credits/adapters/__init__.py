"""Other I/O of credits."""
