"""An S3 server that checks signatures (ministack with AUTH=true), and the real bucket of the run.

A real one is given by SMARTSPEC_TEST_S3_ENDPOINT, _BUCKET, _ACCESS_KEY_ID, _SECRET_ACCESS_KEY and
_REGION (`auto`); what the suite puts there it deletes.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import Any, Final

import botocore.session
import pytest
from botocore.config import Config

from kernel.clock import random_token
from kernel.objects.bucket import Bucket
from kernel.runtime import quiet_port

REGION: Final = "us-east-1"
START_TIMEOUT_S: Final = 30
_POLICY: Final = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
}


class S3Server:
    """On a port that stays its own; what it holds is in its memory. Its root may do all, and our
    user everything with buckets: that server checks the secrets of users alone."""

    def __init__(self) -> None:
        self.port = quiet_port(int.from_bytes(random_token(2)))
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._root = ("AKIAROOT000000000000", random_token(20).hex())
        self._process: subprocess.Popen[bytes] | None = None
        self._user = self._root

    def start(self) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "AUTH": "true",
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "SERVICES": "s3,iam",
            "LOG_LEVEL": "ERROR",
            "AWS_ACCESS_KEY_ID": self._root[0],
            "AWS_SECRET_ACCESS_KEY": self._root[1],
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ministack"], env=environment, stdout=subprocess.DEVNULL
        )
        self._wait_until_it_listens()
        iam = self._client("iam", self._root)
        iam.create_user(UserName="smartspec")
        iam.put_user_policy(
            UserName="smartspec", PolicyName="buckets", PolicyDocument=json.dumps(_POLICY)
        )
        key = iam.create_access_key(UserName="smartspec")["AccessKey"]
        self._user = (key["AccessKeyId"], key["SecretAccessKey"])

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def new_bucket(self) -> Bucket:
        name = f"objects-{random_token(8).hex()}"
        self._client("s3", self._user).create_bucket(Bucket=name)
        return Bucket(self.endpoint, name, REGION, *self._user)

    def _client(self, service: str, credentials: tuple[str, str]) -> Any:
        return client_of(service, self.endpoint, REGION, credentials)

    def _wait_until_it_listens(self) -> None:
        give_up_at = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < give_up_at:
            assert self._process is not None, "it was started"
            assert self._process.poll() is None, "the S3 server has ended"
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        raise AssertionError("the S3 server does not listen")


@cache
def client_of(service: str, endpoint: str, region: str, credentials: tuple[str, str]) -> Any:
    """Of botocore itself, which waits."""
    return botocore.session.Session().create_client(
        service,
        region_name=region,
        endpoint_url=endpoint,
        aws_access_key_id=credentials[0],
        aws_secret_access_key=credentials[1],
        config=Config(s3={"addressing_style": "path"}),
    )


def waiting_client(bucket: Bucket) -> Any:
    """What tests ask of a bucket that our store does not tell."""
    return client_of("s3", bucket.endpoint, bucket.region, (bucket.access_key_id, bucket.secret))


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """One of each worker of the run."""
    server = S3Server()
    server.start()
    yield server
    server.kill()


@pytest.fixture
def s3_bucket(s3_server: S3Server) -> Bucket:
    return s3_server.new_bucket()


def real_bucket() -> Bucket | None:
    """None where the run has none."""
    given = {
        name: os.environ.get(f"SMARTSPEC_TEST_S3_{name}")
        for name in ("ENDPOINT", "BUCKET", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY")
    }
    if not all(given.values()):
        return None
    return Bucket(
        str(given["ENDPOINT"]).rstrip("/"),
        str(given["BUCKET"]),
        os.environ.get("SMARTSPEC_TEST_S3_REGION", "auto"),
        str(given["ACCESS_KEY_ID"]),
        str(given["SECRET_ACCESS_KEY"]),
    )
