"""What storage reads from the environment."""

from pathlib import Path

from kernel.settings import Settings


class StorageSettings(Settings):
    """Nothing of its own yet: objects are files below `home`."""

    @property
    def objects_root(self) -> Path:
        return self.home / "objects"
