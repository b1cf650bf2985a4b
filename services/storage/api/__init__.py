"""HTTP of storage: `/api/v2/storage/...` for users, `/media/...` for whoever holds a link."""

from fastapi import APIRouter

from services.storage.api.files import add_files
from services.storage.api.media import MEDIA, Media, media_routes
from services.storage.api.presigned import add_presigned
from services.storage.api.shelf import Shelf
from services.storage.api.uploads import add_uploads
from services.storage.api.usage import add_usage
from services.storage.api.verify import verify_routes


def file_routes(shelf: Shelf) -> APIRouter:
    router = APIRouter(prefix="/api/v2/storage", tags=["storage"])
    add_uploads(router, shelf)
    add_presigned(router, shelf)
    add_files(router, shelf)
    add_usage(router, shelf)
    return router


__all__ = ["MEDIA", "Media", "Shelf", "file_routes", "media_routes", "verify_routes"]
