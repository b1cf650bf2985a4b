"""HTTP of storage: media for whoever holds a link, and verdicts for whoever has a file."""

from services.storage.api.media import routes
from services.storage.api.verify import verify_routes

__all__ = ["routes", "verify_routes"]
