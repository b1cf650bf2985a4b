"""Storage's tests share a database, and recordings that are made once."""

from collections.abc import Mapping

import pytest

from tests.reused_database import database_dsn, suite_dsn

__all__ = ["database_dsn", "suite_dsn"]


@pytest.fixture(scope="session")
def recordings() -> Mapping[str, bytes]:
    """Real files of a second by name."""
    from tests.storage import recordings as made

    return {
        "film": made.mp4(),
        "avatar": made.mp4(volume=made.LOUD, index_first=True),
        "mute": made.mp4(volume=0.0),
        "mp3": made.mp3(),
        "wav": made.wav(),
    }
