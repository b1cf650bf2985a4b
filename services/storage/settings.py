"""What storage reads from the environment."""

from kernel.settings import Settings


class StorageSettings(Settings):
    """Nothing of its own yet."""
