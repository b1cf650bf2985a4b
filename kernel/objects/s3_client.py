"""The client of an S3 server, and what its failures mean; imported only where there is a bucket.

It knows our settings alone: no profile, no file and no `AWS_*` variable of the machine.
"""

import asyncio
import os
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import datetime, timedelta
from functools import cache
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import structlog
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
from yarl import URL

from kernel.errors import NotFound, Rejected
from kernel.objects.bucket import Bucket
from kernel.objects.port import AGAIN_AFTER_S, ObjectStoreAway
from kernel.settings import WrongSettings

CONNECT_TIMEOUT_S: Final = 5
READ_TIMEOUT_S: Final = 30
"""Of silence."""
TRIES_MAX: Final = 3
CONNECTIONS_MAX: Final = 64
CHECKS_MAX: Final = 12
"""At the start, `AGAIN_AFTER_S` apart, of a server that is away."""

CHECK_LINK_LIFETIME: Final = timedelta(minutes=10)

_NO_BUCKET: Final = "NoSuchBucket"

_log = structlog.get_logger(__name__)


class NoSuchPart(Exception):
    """The object has no byte of the range."""


@cache
def _session() -> AioSession:
    """One of the process: what botocore reads about S3 takes 0.2 s and 13 MB."""
    return AioSession(
        session_vars={
            "profile": (None, None, None, None),
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
        }
    )


def client_of(bucket: Bucket) -> AbstractAsyncContextManager[Any]:
    config = AioConfig(
        signature_version="s3v4",
        s3={
            "addressing_style": "path" if bucket.is_in_path else "virtual",
            "payload_signing_enabled": True,
        },
        # The checksums that botocore adds by itself are trailers, which not all servers can read.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        max_pool_connections=CONNECTIONS_MAX,
        retries={"mode": "standard", "total_max_attempts": TRIES_MAX},
        ignore_configured_endpoint_urls=True,
    )
    client: AbstractAsyncContextManager[Any] = _session().create_client(
        "s3",
        region_name=bucket.region,
        endpoint_url=bucket.endpoint,
        aws_access_key_id=bucket.access_key_id,
        aws_secret_access_key=bucket.secret,
        config=config,
    )
    return client


@contextmanager
def answered() -> Iterator[None]:
    """What a failure means: never the server's own words, which hold its address.

    Raises:
        NotFound: `object_not_found`.
        Rejected: `object_exists`, or somebody else is about to put it.
        NoSuchPart, ObjectStoreAway.
    """
    try:
        yield
    except ClientError as error:
        raise _meaning(error) from None
    except ParamValidationError:
        raise
    except (BotoCoreError, aiohttp.ClientError, OSError, TimeoutError) as error:
        _log.warning("object_store_away", error=type(error).__name__)
        raise ObjectStoreAway from None


def _meaning(error: ClientError) -> Exception:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = error.response.get("Error", {}).get("Code", "")
    if status == HTTPStatus.NOT_FOUND and code != _NO_BUCKET:
        return NotFound("object_not_found", "There is no such object.")
    if status in {HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED}:
        return Rejected("object_exists", "There is an object of this key already.")
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return NoSuchPart()
    _log.warning("object_store_refused", operation=error.operation_name, status=status, code=code)
    return ObjectStoreAway()


async def until_usable(
    bucket: Bucket, now: datetime, *, again_after_s: float = AGAIN_AFTER_S
) -> None:
    """Waits for a server that may start later than we do, and asks it for the bucket by a link.

    So it is shown that our links open as well: the client by itself would be led to where a bucket
    of another region is. Raises `WrongSettings`.
    """
    timeout = aiohttp.ClientTimeout(total=READ_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)
    link = bucket.link("HEAD", "", now=now, expires_at=now + CHECK_LINK_LIFETIME)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for _ in range(CHECKS_MAX):
            try:
                async with session.head(URL(link, encoded=True), allow_redirects=False) as answer:
                    status = answer.status
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                _log.warning("object_store_not_there_yet", error=type(error).__name__)
            else:
                if status == HTTPStatus.OK:
                    return
                if status < HTTPStatus.INTERNAL_SERVER_ERROR:
                    raise WrongSettings(_refusal(bucket.name, status))
                _log.warning("object_store_not_there_yet", status=status)
            await asyncio.sleep(again_after_s)
    raise WrongSettings(
        "SmartSpec can't start: the object store does not answer at CLOUDFLARE_R2_ENDPOINT"
    )


def _refusal(bucket: str, status: int) -> str:
    if status == HTTPStatus.NOT_FOUND:
        return (
            f"SmartSpec can't start: the object store has no bucket {bucket!r};"
            " make it, or set CLOUDFLARE_R2_BUCKET_NAME to another"
        )
    return (
        f"SmartSpec can't start: the object store refuses us bucket {bucket!r} ({status});"
        " look at CLOUDFLARE_R2_ACCESS_KEY_ID, CLOUDFLARE_R2_SECRET_ACCESS_KEY,"
        " SMARTSPEC_S3_REGION and this machine's clock"
    )
