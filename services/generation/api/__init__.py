"""HTTP in of generation: tasks, prices and models."""

from services.generation.api.callbacks import Hints, callback_routes
from services.generation.api.internal import internal_routes
from services.generation.api.routes import routes
from services.generation.api.tasks import Tasks

__all__ = ["Hints", "Tasks", "callback_routes", "internal_routes", "routes"]
