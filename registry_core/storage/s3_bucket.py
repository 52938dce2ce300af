"""One bucket of an S3-compatible store: its requests, one method each, and its failures as errors of the store.

botocore repeats requests that failed temporarily (500, 503 SlowDown, no answer, a broken connection), with exponential
jittered pauses. Only plain requests that every such store supports are used, without trailing checksums. Batches are
deleted one by one where the store does not support that.
"""

from __future__ import annotations

import hashlib
import random
import time
from base64 import b64encode
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

import boto3
from botocore.client import Config as ClientConfig
from botocore.exceptions import BotoCoreError, ClientError

from registry_core.config import Config
from registry_core.storage.interface import ObjectMissing, StorageError, StorageFull, UploadLost

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Body = bytes | bytearray | IO[bytes]

CONNECT_S = 5
CONNECTIONS = 64
READ_BYTES = 1 << 20
COPY_BYTES = 256 << 20  # S3 copies up to 5 GiB at once; by smaller parts no request takes longer than `s3_timeout_s`
PARTS_MAX = 10_000
PAUSE_MAX_S = 10.0
_CONTENT_TYPE = "application/octet-stream"
_ABSENT = {"404", "NoSuchKey", "NoSuchUpload"}
_FULL = {"XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage", "507"}
_REMEDIES: Final = {
    "NoSuchBucket": "the bucket does not exist: make it, or correct s3_bucket",
    "InvalidAccessKeyId": "the store does not know the key: correct s3_access_key",
    "SignatureDoesNotMatch": "the secret does not belong to the key: correct s3_secret_key",
    "AccessDenied": "the key lacks a permission on the bucket: the administrator's guide lists the required ones",
    "PermanentRedirect": "the bucket is in another region: correct s3_region",
    "AuthorizationHeaderMalformed": "the bucket is in another region: correct s3_region",
    "EndpointConnectionError": "nothing answers at the endpoint: correct s3_endpoint, or start the store",
    "NoCredentialsError": "there are no credentials: set s3_access_key and s3_secret_key",
    "SSLError": "this machine does not trust the store's certificate: set s3_ca_file, or correct s3_endpoint",
    "RequestTimeTooSkewed": "the clock of this machine differs from the store's: correct it",
}
_UNSUPPORTED = {"NotImplemented", "MethodNotAllowed", "501"}


class Head(NamedTuple):
    """The store's metadata of an object, without its content."""

    size_bytes: int
    etag: str


class Listed(NamedTuple):
    """An object, or a multipart upload (with its id, and no size), in a listing."""

    name: str
    size_bytes: int
    modified_at_s: float
    upload_id: str = ""


class Bucket:
    """Names are relative to the configured prefix."""

    def __init__(self, config: Config) -> None:
        self._bucket = config.s3_bucket or ""
        self._prefix = config.s3_prefix
        self._attempts = config.s3_attempts
        with translated("setting up the client of the store"):
            self._client = _client(config, config.s3_endpoint)
            self._public = _client(config, config.s3_public_endpoint) if config.s3_public_endpoint else self._client
        self._sse: dict[str, Any] = {}
        if config.s3_sse:
            self._sse["ServerSideEncryption"] = config.s3_sse
        if config.s3_kms_key_id:
            self._sse["SSEKMSKeyId"] = config.s3_kms_key_id

    def put(self, name: str, body: Body) -> None:
        """Store a whole object."""
        with translated("writing an object"):
            self._client.put_object(
                **self._at(name, Body=body, ContentMD5=_content_md5(body), ContentType=_CONTENT_TYPE, **self._sse)
            )

    def begin_parts(self, name: str) -> str:
        """Begin a multipart upload; its id."""
        with translated("beginning an object of parts"):
            begun = self._client.create_multipart_upload(**self._at(name, ContentType=_CONTENT_TYPE, **self._sse))
        return begun["UploadId"]

    def put_part(self, name: str, upload_id: str, number: int, body: Body) -> str:
        """Store a part (from 1 on); its ETag. Raises UploadLost if the upload was finished or the store has removed
        it."""
        with translated("writing a part of an object"):
            put = self._client.upload_part(
                **self._at(name, UploadId=upload_id, PartNumber=number, Body=body, ContentMD5=_content_md5(body))
            )
        return put["ETag"].strip('"')

    def finish_parts(self, name: str, upload_id: str, etags: list[str]) -> None:
        """Join the parts to an object. Raises UploadLost."""
        parts = [{"PartNumber": number, "ETag": f'"{etag}"'} for number, etag in enumerate(etags, 1)]
        with translated("joining the parts of an object"):
            self._client.complete_multipart_upload(
                **self._at(name, UploadId=upload_id, MultipartUpload={"Parts": parts})
            )

    def abort_parts(self, name: str, upload_id: str) -> None:
        """Abort a multipart upload; does nothing if it does not exist."""
        with translated("aborting parts of an object", ignore=_ABSENT):
            self._client.abort_multipart_upload(**self._at(name), UploadId=upload_id)

    def head(self, name: str) -> Head | None:
        """None if there is no such object."""
        with translated("looking at an object", ignore=_ABSENT):
            head = self._client.head_object(**self._at(name))
            return Head(head["ContentLength"], head["ETag"].strip('"'))
        return None

    def delete(self, name: str) -> None:
        """Ask the store to delete an object; the caller must check whether it did."""
        with translated("deleting an object", ignore=_ABSENT):
            self._client.delete_object(**self._at(name))

    def delete_many(self, names: Sequence[str]) -> dict[str, str]:
        """Ask the store to delete up to 1000 objects with one request; returns what it says about those that it did not
        delete, by their names. The caller must check whether it did. Raises StorageError."""
        wanted = {self._prefix + name: name for name in names}
        failures: dict[str, str] = {}
        with translated("deleting objects", ignore=_UNSUPPORTED):
            answer = self._client.delete_objects(
                Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in wanted], "Quiet": True}
            )
            for error in answer.get("Errors", []):
                name, code = wanted.get(error.get("Key", ""), ""), error.get("Code", "unknown")
                failures[name] = f"the store answers {code}{_remedy(code)}"
            return failures
        for name in names:
            self.delete(name)
        return failures

    def copy(self, name: str, target: str) -> None:
        """Copy an object within the bucket, of any size, and make sure that the copy is complete. Raises ObjectMissing
        or StorageError: then there is no copy."""
        source = self.head(name)
        if source is None:
            raise ObjectMissing("copying an object: it is missing")
        if source.size_bytes <= COPY_BYTES:
            self._copy_at_once(name, target, source)
        else:
            self._copy_parts(name, target, source)
        copied = self.head(target)
        if copied is None or copied.size_bytes != source.size_bytes:
            self.delete(target)
            raise StorageError("copying an object: the store reports success, but the copy differs")

    def _copy_at_once(self, name: str, target: str, source: Head) -> None:
        with translated("copying an object"):
            self._client.copy_object(**self._at(target, **self._from(name, source), **self._sse))

    def _copy_parts(self, name: str, target: str, source: Head) -> None:
        upload_id = self.begin_parts(target)
        try:
            etags = [
                self._copy_part(name, target, source, upload_id, number, span)
                for number, span in enumerate(_spans(source.size_bytes), 1)
            ]
            self.finish_parts(target, upload_id, etags)
        except StorageError:
            self.abort_parts(target, upload_id)
            raise

    def _copy_part(self, name: str, target: str, source: Head, upload_id: str, number: int, span: str) -> str:
        with translated("copying a part of an object"):
            copied = self._client.upload_part_copy(
                **self._at(
                    target,
                    UploadId=upload_id,
                    PartNumber=number,
                    CopySourceRange=span,
                    **self._from(name, source),
                )
            )
        return copied["CopyPartResult"]["ETag"].strip('"')

    def _from(self, name: str, source: Head) -> dict[str, Any]:
        return {"CopySource": self._at(name), "CopySourceIfMatch": f'"{source.etag}"'}

    def read(self, name: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The object's bytes; a connection that breaks is resumed where it broke."""
        at, failures = start, 0
        while end is None or at < end:
            try:
                with translated("reading an object"):
                    for chunk in self._read_once(name, at, end):
                        at, failures = at + len(chunk), 0
                        yield chunk
                return
            except ObjectMissing:
                raise
            except StorageError:
                failures += 1
                if failures >= self._attempts:
                    raise
                time.sleep(random.uniform(0, min(PAUSE_MAX_S, 2.0**failures / 4)))  # noqa: S311 not a secret

    def _read_once(self, name: str, start: int, end: int | None) -> Iterator[bytes]:
        more = {"Range": f"bytes={start}-{'' if end is None else end - 1}"} if start or end is not None else {}
        answer = self._client.get_object(**self._at(name, **more))
        with closing(answer["Body"]) as body:
            yield from body.iter_chunks(READ_BYTES)

    def objects(self, start: str) -> Iterator[Listed]:
        """The objects whose name begins with `start`."""
        with translated("listing objects"):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix + start):
                for entry in page.get("Contents", []):
                    name = entry["Key"].removeprefix(self._prefix)
                    yield Listed(name, entry["Size"], entry["LastModified"].timestamp())

    def multiparts(self, start: str) -> Iterator[Listed]:
        """The unfinished multipart uploads whose name begins with `start`.

        MinIO lists only those of an exact name, and removes old ones by itself.
        """
        with translated("listing unfinished objects", ignore=_UNSUPPORTED):
            pages = self._client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix + start):
                for entry in page.get("Uploads", []):
                    name = entry["Key"].removeprefix(self._prefix)
                    yield Listed(name, 0, entry["Initiated"].timestamp(), entry["UploadId"])

    def signed_url(self, name: str, *, ttl_s: int) -> str:
        """A URL that can be read from for `ttl_s` seconds."""
        with translated("signing a URL"):
            return self._public.generate_presigned_url("get_object", Params=self._at(name), ExpiresIn=ttl_s)

    def is_cleaning_up_parts(self) -> bool | None:
        """Whether a rule of the bucket aborts incomplete multipart uploads; None if the rules cannot be read."""
        try:
            rules = self._client.get_bucket_lifecycle_configuration(Bucket=self._bucket)["Rules"]
        except ClientError as error:
            return False if _code(error) == "NoSuchLifecycleConfiguration" else None
        except BotoCoreError:
            return None
        return any(rule["Status"] == "Enabled" and "AbortIncompleteMultipartUpload" in rule for rule in rules)

    def _at(self, name: str, **more: Any) -> Any:
        return {"Bucket": self._bucket, "Key": self._prefix + name, **more}


def _spans(size_bytes: int) -> list[str]:
    """The byte ranges of the parts of a copy."""
    length = max(COPY_BYTES, -(-size_bytes // PARTS_MAX))
    return [f"bytes={start}-{min(start + length, size_bytes) - 1}" for start in range(0, size_bytes, length)]


@contextmanager
def translated(what: str, *, ignore: Collection[str] = ()) -> Iterator[None]:
    """Failures of the store as StorageError; an error code in `ignore` ends the block without an error."""
    try:
        yield
    except ClientError as error:
        if _code(error) not in ignore:
            raise _error(what, _code(error)) from error
    except BotoCoreError as error:
        name = type(error).__name__
        raise StorageError(f"{what}: no usable answer from the store ({name}){_remedy(name)}") from error


def _error(what: str, code: str) -> StorageError:
    if code == "NoSuchUpload":
        return UploadLost(f"{what}: its parts are lost, upload it again")
    if code in _ABSENT:
        return ObjectMissing(f"{what}: the object is missing")
    if code in _FULL:
        return StorageFull(f"{what}: the store is full ({code})")
    return StorageError(f"{what}: the store answers {code}{_remedy(code)}")


def _remedy(failure: str) -> str:
    return f": {_REMEDIES[failure]}" if failure in _REMEDIES else ""


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))


def md5(body: Body) -> bytes:
    """The MD5 of a body, which is rewound."""
    if isinstance(body, (bytes, bytearray)):
        return hashlib.md5(body, usedforsecurity=False).digest()
    known = hashlib.file_digest(body, lambda: hashlib.md5(usedforsecurity=False))  # type: ignore[arg-type]
    body.seek(0)
    return known.digest()


def _content_md5(body: Body) -> str:
    """With Content-MD5 the store refuses bodies that were damaged in transit."""
    return b64encode(md5(body)).decode()


def _with_content_md5(request: Any, **_: Any) -> None:
    """Deleting several objects requires a checksum, and older stores know no other one."""
    if "Content-MD5" not in request.headers:
        request.headers["Content-MD5"] = _content_md5(request.body)


def _client(config: Config, endpoint: str | None) -> S3Client:
    secret = config.s3_secret_key.get_secret_value() if config.s3_secret_key else None
    session = boto3.session.Session(
        aws_access_key_id=config.s3_access_key, aws_secret_access_key=secret, region_name=config.s3_region
    )
    client = session.client(
        "s3",
        region_name=session.region_name or "us-east-1",
        endpoint_url=endpoint,
        verify=str(config.s3_ca_file) if config.s3_ca_file else None,
        config=ClientConfig(
            signature_version="s3v4",
            s3={"addressing_style": "path" if config.s3_path_style else "virtual"},
            retries={"mode": "standard", "total_max_attempts": config.s3_attempts},
            connect_timeout=CONNECT_S,
            read_timeout=config.s3_timeout_s,
            max_pool_connections=CONNECTIONS,
            tcp_keepalive=True,
            # Several stores refuse trailing checksums; all support Content-MD5.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    client.meta.events.register("before-sign.s3.DeleteObjects", _with_content_md5)
    return client
