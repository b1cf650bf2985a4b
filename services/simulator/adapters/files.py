"""Result files in one folder, bounded in bytes: the oldest go first."""

from collections import OrderedDict
from pathlib import Path


class ResultFiles:
    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._total_bytes = 0

    def open(self, wanted: frozenset[str]) -> None:
        """Make the folder and drop whatever no known job asked for, half-written files too."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(self._folder.iterdir()):
            if path.name in wanted:
                self.note(path.name)
            else:
                path.unlink(missing_ok=True)

    def path(self, name: str) -> Path:
        return (self._folder / name).absolute()

    def note(self, name: str) -> None:
        """Count a file that was just written; forget the oldest beyond the bound."""
        size = self.path(name).stat().st_size
        self._sizes[name] = size
        self._total_bytes += size
        while self._total_bytes > self._max_bytes and len(self._sizes) > 1:
            self.forget(next(iter(self._sizes)))

    def forget(self, name: str) -> None:
        self._total_bytes -= self._sizes.pop(name, 0)
        self.path(name).unlink(missing_ok=True)

    def has(self, name: str) -> bool:
        return name in self._sizes
