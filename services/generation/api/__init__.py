"""HTTP in of generation: tasks, prices and models."""

from services.generation.api.routes import routes
from services.generation.api.tasks import Tasks

__all__ = ["Tasks", "routes"]
