"""Pure: what the vendors' protocols mean, how a job lives, which fault is due, what is owed."""
