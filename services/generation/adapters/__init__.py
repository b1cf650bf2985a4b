"""Other I/O of generation: the vendors' protocols, and the model catalogue's file."""
