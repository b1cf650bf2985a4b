"""The object store: a port, and files under one folder behind it."""

from kernel.objects.keys import (
    CONTENT_TYPES,
    MAX_KEY_CHARS,
    MAX_SEGMENT_CHARS,
    UNKNOWN_TYPE,
    ObjectKey,
)
from kernel.objects.local import LocalObjectStore
from kernel.objects.port import CHUNK_BYTES, ObjectChunks, ObjectStore, StoredObject

__all__ = [
    "CHUNK_BYTES",
    "CONTENT_TYPES",
    "MAX_KEY_CHARS",
    "MAX_SEGMENT_CHARS",
    "UNKNOWN_TYPE",
    "LocalObjectStore",
    "ObjectChunks",
    "ObjectKey",
    "ObjectStore",
    "StoredObject",
]
