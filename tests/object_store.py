"""An object store for the tests: a server of the S3 protocol on loopback, and what of the environment leads there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

BUCKET = "pictures"


@contextmanager
def running() -> Iterator[str]:
    """The server's address, with the bucket made; its address and keys are in the environment until it ends."""
    moto = pytest.importorskip("moto.server", reason="moto is not installed (requirements-test.txt)")
    pytest.importorskip("s3fs", reason="s3fs is not installed (requirements-test.txt)")
    from core.storage import object_store

    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    told = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "anna",
        "AWS_SECRET_ACCESS_KEY": "hunter2",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    before = {name: os.environ.get(name) for name in told}
    os.environ |= told
    try:
        client = object_store._object_store(f"s3://{BUCKET}")
        if not client.exists(BUCKET):  # the stores of one process are one
            client.mkdir(BUCKET)
        yield told["AWS_ENDPOINT_URL"]
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        server.stop()
