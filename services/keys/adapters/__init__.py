"""Other I/O of keys: password hashing in threads, and the records of its users."""

from services.keys.adapters.passwords import Passwords
from services.keys.adapters.users import Users

__all__ = ["Passwords", "Users"]
