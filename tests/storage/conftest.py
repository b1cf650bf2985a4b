"""Storage's tests share a database, and recordings that are made once."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from kernel.projections import ensure
from kernel.service import Platform
from kernel.settings import read_settings
from services.storage.app import create_service
from services.storage.read_model import READ_MODEL
from services.storage.settings import StorageSettings
from tests.reused_database import database_dsn, suite_dsn
from tests.storage.uploading import QUOTA, Storage

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


@pytest.fixture
async def storage(platform: Platform, tmp_path: Path) -> AsyncIterator[Storage]:
    settings = read_settings(
        StorageSettings,
        SMARTSPEC_HOME=tmp_path,
        SMARTSPEC_STORAGE_QUOTAS=f"free={QUOTA}B,*=1GB",
        SMARTSPEC_NSFW_CHECK=False,
    )
    service = create_service(settings, platform)
    async with platform.database.connection() as connection:
        await ensure(connection, READ_MODEL)
    storage = Storage(service, platform, tmp_path)
    yield storage
    await storage.client.aclose()
    for resource in service.resources:
        await resource.aclose()
