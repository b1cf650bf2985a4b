"""The words for what a key may be allowed to do."""

from enum import StrEnum


class Scope(StrEnum):
    """What a key may be allowed to do. Events keep the words, not the members."""

    GENERATION_CREATE = "generation:create"
    GENERATION_READ = "generation:read"
    GENERATION_DELETE = "generation:delete"
    CREDITS_READ = "credits:read"
    STORAGE_READ = "storage:read"
    STORAGE_WRITE = "storage:write"
    STORAGE_DELETE = "storage:delete"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    WEBHOOKS_MANAGE = "webhooks:manage"
    GALLERY_WRITE = "gallery:write"
    SPECS_READ = "specs:read"
    SPECS_WRITE = "specs:write"
