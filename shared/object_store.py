"""Images in one bucket: our words over boto3; nothing of S3 leaves this file but its errors."""

import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

import boto3
import httpx
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import SecretStr

from shared.config import TEMPORARY, Settings
from shared.egress_guard import port_of
from shared.jobs import Job, attempt_prefix
from shared.retention import is_ours, lifecycle_rules

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client

CONNECT_SECONDS = 3
ATTEMPTS = 3
CONNECTIONS = 32
DELETE_AT_ONCE = 1000
"""Keys in one request: what S3 allows."""
UPLOAD_TIME = timedelta(hours=1)
LONGEST_LINK = timedelta(days=7)
"""What S3's signatures allow."""


OUTPUT_FOLDERS = OUTPUTS, TEMPORARY_OUTPUTS = "generations", "temp"
OWN_IMAGE = re.compile(
    r"((generations|temp)/[0-9a-f-]{36}-[0-9]{1,3}|uploads/[0-9a-f]{32})\.[a-z]{3,4}"
)
"""Keys that links of ours lead to, where they are images."""

JOB = "job"
"""In the metadata of an output, or an inline input: the id of its job."""

HANDED_BACK = 16
"""Times that workers may give a job back, uncharged, and its future link still leads to its image.
A job that is given back more often is found by its id."""
OUTPUT_NAME = re.compile(r"([0-9a-f-]{36})(-[0-9]{1,3}\.(?:png|jpeg|webp|base64))")
STORE_ERRORS = (BotoCoreError, ClientError)
"""What the store raises when it is away, full, or refuses us."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as it was put."""

    body: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class OpenObject:
    """An object that is read as it is needed; close it. Belongs to one thread at a time."""

    size: int
    """In bytes."""
    content_type: str
    _stream: "StreamingBody"

    def read(self, most: int | None = None) -> bytes:
        """What comes next, no more than that; empty at the end. Raises boto3's errors."""
        return self._stream.read(most)

    def close(self) -> None:
        """Leave the rest."""
        self._stream.close()


class ObjectStore:
    """One bucket. Safe to use from several threads."""

    def __init__(self, s3: "S3Client", settings: Settings) -> None:
        self._s3 = s3
        self._settings = settings
        self._bucket = settings.s3_bucket

    @classmethod
    def connect(cls, settings: Settings, *, read_seconds: float = 15) -> Self:
        """A store for these settings; each of three attempts waits `read_seconds` for an answer."""
        # A session of our own: boto3's shared one must not make clients in two threads at once.
        s3 = boto3.session.Session().client(
            "s3",
            endpoint_url=settings.s3_endpoint,
            region_name=settings.s3_region,
            aws_access_key_id=_revealed(settings.s3_access_key),
            aws_secret_access_key=_revealed(settings.s3_secret_key),
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                connect_timeout=CONNECT_SECONDS,
                read_timeout=read_seconds,
                max_pool_connections=CONNECTIONS,
                # Not every S3 server knows the checksums that boto3 adds of its own accord.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
        return cls(s3, settings)

    def ping(self) -> None:
        """Raises boto3's error when the bucket cannot be reached or is not there."""
        self._s3.head_bucket(Bucket=self._bucket)

    def ensure_bucket(self) -> None:
        """Make the bucket unless it is there; several processes may do so at once."""
        try:
            self.ping()
        except ClientError as error:
            if _code(error) != "404":
                raise
            self._create_bucket()

    def _create_bucket(self) -> None:
        options: dict[str, Any] = {}
        if self._settings.s3_region != "us-east-1":  # which S3 does not accept as a constraint
            options["CreateBucketConfiguration"] = {"LocationConstraint": self._settings.s3_region}
        try:
            self._s3.create_bucket(Bucket=self._bucket, **options)
        except ClientError as error:
            if _code(error) not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise

    def expire_objects(self) -> bool:
        """Have the bucket remove what is kept for a while only; False where it cannot."""
        rules: list[Any] = lifecycle_rules(self._settings)
        try:
            others = [rule for rule in self._rules() if not is_ours(rule)]
            self._s3.put_bucket_lifecycle_configuration(
                Bucket=self._bucket, LifecycleConfiguration={"Rules": others + rules}
            )
        except STORE_ERRORS:
            return False
        # Some servers take the request for another one, and nothing comes of it.
        return self.expires_objects()

    def expires_objects(self) -> bool:
        """Whether the bucket removes what is kept for a while only."""
        try:
            kept = {rule.get("ID") for rule in self._rules()}
        except STORE_ERRORS:
            return False
        return kept >= {rule["ID"] for rule in lifecycle_rules(self._settings)}

    def _rules(self) -> list[Any]:
        try:
            answer = self._s3.get_bucket_lifecycle_configuration(Bucket=self._bucket)
        except ClientError as error:
            if _code(error) == "NoSuchLifecycleConfiguration":
                return []
            raise
        return list(answer.get("Rules", []))

    def put(self, key: str, data: bytes, content_type: str, *, job_id: int | None = None) -> None:
        """Store an object whole, or raise; a second put of a key replaces the first.

        `job_id` is the job whose output or input it is, as `job_of` will say.
        """
        self._s3.put_object(
            Bucket=self._bucket,
            Key=key,
            Body=data,
            ContentType=content_type,
            CacheControl="private, max-age=86400",
            Metadata={} if job_id is None else {JOB: str(job_id)},
        )

    def job_of(self, key: str) -> int | None:
        """The job that an object belongs to; None for no such object, and for one of no job."""
        try:
            answer = self._s3.head_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if _code(error) == "404":
                return None
            raise
        job_id = answer["Metadata"].get(JOB)
        return int(job_id) if job_id and job_id.isdecimal() else None

    def get(self, key: str) -> StoredObject:
        """An object, whole; raises as `open` does."""
        with closing(self.open(key)) as found:
            return StoredObject(found.read(), found.content_type)

    def open(self, key: str) -> OpenObject:
        """Raises `FileNotFoundError` when there is no such object, or its time is over."""
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if _code(error) == "NoSuchKey":
                raise FileNotFoundError(key) from error
            raise
        if _is_over(key, answer["LastModified"]):
            answer["Body"].close()
            raise FileNotFoundError(key)
        return OpenObject(answer["ContentLength"], answer["ContentType"], answer["Body"])

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; one that is not there is no error. Raises `OSError` naming what stays."""
        for start in range(0, len(keys), DELETE_AT_ONCE):
            batch = keys[start : start + DELETE_AT_ONCE]
            answer = self._s3.delete_objects(
                Bucket=self._bucket,
                Delete={"Objects": [{"Key": key} for key in batch], "Quiet": True},
            )
            if errors := answer.get("Errors"):
                raise OSError(f"not deleted: {errors[0]}")

    def older(self, folder: str, age: timedelta) -> Iterator[list[str]]:
        """Keys in a folder that were put longer ago than that, page by page."""
        pages = self._s3.get_paginator("list_objects_v2")
        latest = datetime.now(UTC) - age
        for page in pages.paginate(Bucket=self._bucket, Prefix=f"{folder}/"):
            found = page.get("Contents", [])
            yield [one["Key"] for one in found if one["LastModified"] < latest]

    def own_key(self, url: str) -> str | None:
        """The key of an image behind a link of ours; None for any other address."""
        address = url.partition("?")[0]
        for base in self._bases:
            if address.startswith(f"{base}/") and OWN_IMAGE.fullmatch(address[len(base) + 1 :]):
                return address[len(base) + 1 :]
        return None

    def leads_here(self, url: str) -> bool:
        """Whether an address is below the API's own, or in the bucket."""
        place = _place(url)
        return any(place.startswith(_place(base)) for base in self._bases)

    def links(self, keys: Iterable[str]) -> list[str]:
        """Where a client gets these objects, as `IMG2IMG_OUTPUT_LINKS` says."""
        match self._settings.output_links:
            case "presigned":
                return [self._presigned(key) for key in keys]
            case "public":
                base, _ = self._bases
            case "proxied":
                _, base = self._bases
        return [f"{base}/{key}" for key in keys]

    def upload_link(self, key: str, content_type: str, size: int) -> str:
        """Where a client may put an object of exactly this type and size, for an hour."""
        return self._s3.generate_presigned_url(
            "put_object",
            Params={
                "Bucket": self._bucket,
                "Key": key,
                "ContentType": content_type,
                "ContentLength": size,
            },
            ExpiresIn=int(UPLOAD_TIME.total_seconds()),
        )

    @property
    def _bases(self) -> tuple[str, str]:
        """Where links to the bucket and to the API's own routes begin."""
        bucket = self._settings.output_base_url or f"{self._s3.meta.endpoint_url}/{self._bucket}"
        return bucket.rstrip("/"), self._settings.public_url.rstrip("/")

    def _presigned(self, key: str) -> str:
        longest = TEMPORARY if _is_temporary(key) else LONGEST_LINK
        lifetime = min(self._settings.link_lifetime, longest)
        return self._s3.generate_presigned_url(
            "get_object",
            Params={"Bucket": self._bucket, "Key": key},
            ExpiresIn=int(lifetime.total_seconds()),
        )


def output_keys(job: Job, generation: int) -> list[str]:
    """Where an attempt puts its images."""
    params, prefix = job.params, job.attempt_prefix(generation)
    folder = TEMPORARY_OUTPUTS if params.temp else OUTPUTS
    return [f"{folder}/{prefix}-{index}.{params.extension}" for index in range(params.samples)]


def possible_keys(folder: str, name: str, *, attempts: int) -> list[str]:
    """Where an output may be: a later attempt may have made it than the one a future link names.

    Empty for what is no output's name.
    """
    if not (parts := OUTPUT_NAME.fullmatch(name)):
        return []
    prefix, rest = parts.groups()
    try:
        numbers = range(1, 1 + attempts + HANDED_BACK)
        prefixes = [attempt_prefix(prefix, number) for number in numbers]
    except ValueError:  # not a UUID after all
        return []
    return [f"{folder}/{one}{rest}" for one in prefixes]


def upload_key(extension: str) -> str:
    """A new place for an image that a client uploads ahead; its name is all it takes to read it."""
    return f"uploads/{secrets.token_hex(16)}.{extension}"


def input_key() -> str:
    """A new place for an image that a client sent along."""
    return f"inputs/{secrets.token_hex(16)}"


def _place(url: str) -> str:
    """Where a URL leads, in one spelling, without what it asks for there."""
    parsed = httpx.URL(url)
    host, path = parsed.host.removesuffix("."), parsed.path.rstrip("/")
    return f"{parsed.scheme}://{host}:{port_of(parsed)}{path}/"


def _is_temporary(key: str) -> bool:
    return key.startswith(f"{TEMPORARY_OUTPUTS}/")


def _is_over(key: str, stored: datetime) -> bool:
    """Also where the bucket does not remove it, or not yet: it does so once a day."""
    return _is_temporary(key) and datetime.now(UTC) - stored > TEMPORARY


def _revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
