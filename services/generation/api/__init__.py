"""HTTP in of generation: tasks, prices and models."""

from services.generation.api.callbacks import Hints, callback_routes
from services.generation.api.events import Feed
from services.generation.api.history import Histories
from services.generation.api.internal import internal_routes
from services.generation.api.routes import routes
from services.generation.api.screening import Screening
from services.generation.api.tasks import Tasks
from services.generation.api.undelivered import undelivered_routes
from services.generation.api.vendor_lists import vendor_list_routes

__all__ = [
    "Feed",
    "Hints",
    "Histories",
    "Screening",
    "Tasks",
    "callback_routes",
    "internal_routes",
    "routes",
    "undelivered_routes",
    "vendor_list_routes",
]
