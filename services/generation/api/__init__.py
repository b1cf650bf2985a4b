"""HTTP in of generation: tasks, prices and models."""

from services.generation.api.internal import internal_routes
from services.generation.api.routes import routes
from services.generation.api.screening import Screening
from services.generation.api.tasks import Tasks

__all__ = ["Screening", "Tasks", "internal_routes", "routes"]
