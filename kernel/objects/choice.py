"""Which object store a process has: the one place that chooses."""

from kernel.links import MediaLinks
from kernel.objects.bucket import Bucket
from kernel.objects.local import LocalObjectStore
from kernel.objects.port import ObjectStore
from kernel.settings import Settings


def object_store(settings: Settings, links: MediaLinks | None = None) -> ObjectStore:
    """A bucket where there are settings of one, else files under the home, whose `links` are ours.

    Files on their way into a bucket wait in `incoming` under the home.
    """
    bucket = bucket_of(settings)
    if bucket is None:
        return LocalObjectStore(settings.objects_root, links)
    from kernel.objects.s3 import S3ObjectStore  # noqa: PLC0415 - 0.3 s that files do not need

    return S3ObjectStore(bucket, settings.home / "incoming")


def bucket_of(settings: Settings) -> Bucket | None:
    """Settings are whole or not there at all: `Settings` refuses halves."""
    endpoint = settings.objects_endpoint
    if endpoint is None:
        return None
    name, key_id = settings.objects_bucket, settings.r2_access_key_id
    secret = settings.r2_secret_access_key
    assert name is not None, "Settings refuses halves"
    assert key_id is not None, "Settings refuses halves"
    assert secret is not None, "Settings refuses halves"
    return Bucket(endpoint, name, settings.s3_region, key_id, secret.get_secret_value())
