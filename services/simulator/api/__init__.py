"""HTTP in: one module per vendor, and the controls that no vendor has."""
