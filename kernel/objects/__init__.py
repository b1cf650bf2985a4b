"""The object store: a port, and behind it files under one folder, or a bucket of an S3 server."""

from kernel.objects.choice import object_store
from kernel.objects.keys import (
    CONTENT_TYPES,
    MAX_KEY_CHARS,
    MAX_SEGMENT_CHARS,
    UNKNOWN_TYPE,
    ObjectKey,
)
from kernel.objects.local import LocalObjectStore
from kernel.objects.port import (
    CHUNK_BYTES,
    ObjectChunks,
    ObjectLinks,
    ObjectStore,
    ObjectStoreAway,
    StoredObject,
)

__all__ = [
    "CHUNK_BYTES",
    "CONTENT_TYPES",
    "MAX_KEY_CHARS",
    "MAX_SEGMENT_CHARS",
    "UNKNOWN_TYPE",
    "LocalObjectStore",
    "ObjectChunks",
    "ObjectKey",
    "ObjectLinks",
    "ObjectStore",
    "ObjectStoreAway",
    "StoredObject",
    "object_store",
]
