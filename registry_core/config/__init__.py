"""The configuration of a Portolan process: environment `PORTOLAN_*` over `portolan.yml` over defaults.

Settings that an administrator changes at run time are not here: they are rows in Postgres.
"""

import ipaddress
import json
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from registry_core.config import values as forms
from registry_core.config.accounts import parse_account
from registry_core.config.keys import KEYS, parsed
from registry_core.config.sources import CONFIG_PATH_VARIABLE as CONFIG_PATH_VARIABLE
from registry_core.config.sources import PREFIX, Given, read_given
from registry_core.config.sources import ConfigError as ConfigError
from registry_core.errors import InvalidInput

MASK = "********"
PREPARED_AFTER = 2
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Setting(NamedTuple):
    """A setting as `portolan settings` shows it; `value` is masked if it is secret."""

    key: str
    value: str
    source: str


class Config(BaseModel):
    """What a process needs before it can reach Postgres. Read once; immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=5080, ge=1, le=65535, description="TCP port to listen on.")
    data: Path = Field(default=Path("data"), description="Directory of blobs, secrets and the embedded servers.")
    machine: Path | None = Field(
        default=None,
        description="Directory for files of this machine only (locks, generations of caches); default: DATA/run. "
        "Each machine that shares DATA needs its own.",
    )
    external_url: str | None = Field(
        default=None, description="URL by which clients reach this registry; default: the request's Host header."
    )
    trusted_proxies: tuple[Network, ...] = Field(
        default=(),
        description="Networks (CIDR, comma-separated) whose X-Forwarded-* and Forwarded headers are trusted.",
    )
    run_as: str | None = Field(
        default=None,
        description="USER or USER:GROUP that `serve`, `worker` and `beat` run as if root starts them, after they have "
        "opened their ports; default: the account that starts them.",
    )
    workers: int = Field(default=2, ge=1, le=256, description="Processes that `serve` starts.")
    admin_password: SecretStr | None = Field(
        default=None, description="Password of `admin` at the first start; default: a random one."
    )

    tls: bool | None = Field(
        default=None, description="Whether `serve` speaks HTTPS; default: if hostname or tls_cert is set."
    )
    hostname: tuple[str, ...] = Field(
        default=(),
        description="Names and addresses (comma-separated) by which clients reach this machine, for its certificate.",
    )
    tls_cert: Path | None = Field(
        default=None, description="PEM file of a certificate and its chain; default: one issued by Portolan's own CA."
    )
    tls_key: Path | None = Field(default=None, description="PEM file of the key of tls_cert.")
    tls_lifetime_s: int = Field(
        default=90 * 86_400,
        ge=5,
        le=397 * 86_400,
        description="Seconds for which a certificate of Portolan's own CA is valid.",
    )
    http_port: int | None = Field(
        default=None, ge=1, le=65535, description="Port for plain HTTP that refers clients to HTTPS; default: none."
    )

    database_url: SecretStr | None = Field(
        default=None, description="postgresql:// URL; default: the embedded server of `portolan up`."
    )
    database_direct_url: SecretStr | None = Field(
        default=None, description="The same database without a transaction pooler, for locks and LISTEN."
    )
    database_pool_max: int = Field(default=16, ge=1, le=1000, description="Database connections per process.")
    read_timeout_s: int = Field(
        default=5,
        ge=0,
        le=3600,
        description="Time limit in seconds for one statement of a read by the REST API or the console; "
        "beyond it the answer is 503. 0: no limit.",
    )
    allow_newer_database: bool = Field(
        default=False,
        description="Start on a database that a newer release has migrated: only while a rolling upgrade lasts.",
    )
    redis_url: SecretStr | None = Field(
        default=None,
        description="redis:// or valkey:// URL of Valkey or Redis; default: the embedded one of `portolan up`.",
    )

    storage: Literal["filesystem", "s3"] = Field(
        default="filesystem", description="Where new blobs are stored; blobs in the other store stay readable."
    )
    s3_bucket: str | None = Field(default=None, validate_default=True, description="Bucket of blobs.")
    s3_prefix: str = Field(default="", description="Folder in the bucket, if others use the bucket too.")
    s3_region: str | None = Field(default=None, description="Region; default: as the AWS tools find it, or us-east-1.")
    s3_endpoint: str | None = Field(default=None, description="URL of a store that is not AWS.")
    s3_public_endpoint: str | None = Field(
        default=None, description="URL by which clients reach the store, if it differs from s3_endpoint."
    )
    s3_access_key: str | None = Field(
        default=None, description="Access key; default: as the AWS tools find one (environment, profile, IAM role)."
    )
    s3_secret_key: SecretStr | None = Field(default=None, validate_default=True, description="Secret of s3_access_key.")
    s3_path_style: bool = Field(
        default=False, description="Name the bucket in the path (MinIO, Ceph), not in the host name."
    )
    s3_sse: Literal["AES256", "aws:kms"] | None = Field(
        default=None, description="Encryption to request from the store."
    )
    s3_kms_key_id: str | None = Field(default=None, description="KMS key for s3_sse aws:kms; default: the bucket's.")
    s3_ca_file: Path | None = Field(default=None, description="CA certificates (PEM) to trust for the store.")
    s3_redirect: bool = Field(
        default=True, description="Redirect pulls to the store by a signed URL; false: relay the bytes."
    )
    s3_redirect_ttl_s: int = Field(
        default=1200,
        ge=60,
        le=604_800,
        description="Seconds for which a signed URL is valid; URLs are reused while three quarters are left.",
    )
    s3_part_bytes: int = Field(
        default=16 * 1024 * 1024,
        ge=5 * 1024 * 1024,
        le=1024 * 1024 * 1024,
        description="Size of the first parts of an object, and the memory that an upload may use.",
    )
    s3_equal_parts: bool = Field(
        default=False, description="Make all parts of an object equally large, as Cloudflare R2 requires."
    )
    s3_timeout_s: int = Field(
        default=60, ge=1, le=3600, description="Seconds to wait for the store's answer, per attempt."
    )
    s3_attempts: int = Field(
        default=6, ge=1, le=20, description="Attempts at a request that the store fails to answer."
    )

    disk_free_min_percent: int = Field(
        default=5,
        ge=0,
        le=90,
        description="Per cent of free space in DATA below which `portolan check` and the health report warn; 0: never.",
    )
    upload_ttl_s: int = Field(
        default=86_400, ge=60, le=10 * 365 * 86_400, description="Seconds after which an idle upload is removed."
    )
    manifest_limit_bytes: int = Field(
        default=4 * 1024 * 1024, ge=1024, le=64 * 1024 * 1024, description="Largest manifest accepted, in bytes."
    )
    deleted_retention_days: int = Field(
        default=7,
        ge=0,
        le=100 * 365,
        description="Days for which deleted content can be restored; 0: it is not kept, and cannot be restored.",
    )
    gc_grace_s: int = Field(
        default=3600,
        ge=0,
        le=30 * 86_400,
        description="Seconds for which garbage collection leaves deleted or unused content in place, for clients that "
        "are pulling it, or about to push a manifest that uses it.",
    )
    trash_days: int = Field(
        default=7,
        ge=0,
        le=100 * 365,
        description="Days for which objects removed by a sweep stay in the store's trash; 0: they are deleted.",
    )
    job_history_days: int = Field(
        default=30,
        ge=1,
        le=100 * 365,
        description="Days for which ended jobs and their logs stay listed; the last 50 of each kind stay longer.",
    )
    time_zone: str = Field(
        default="UTC", description="Time zone of schedules, by its name in the IANA database: Europe/Berlin."
    )
    sweep_max_percent: int = Field(
        default=5,
        ge=0,
        le=100,
        description="A sweep of more than 10 objects is refused if they are more than this share of the store's "
        "objects, or of their bytes.",
    )
    token_ttl_s: int = Field(default=1800, ge=60, le=86_400, description="Seconds for which a bearer token is valid.")
    refresh_tokens: bool = Field(
        default=False,
        description="Issue refresh tokens to users if their client asks: `docker login` then stores it instead of "
        "the password, and tools that read the password from config.json fail.",
    )
    stale_if_down_s: int = Field(
        default=60,
        ge=0,
        le=86_400,
        description="Seconds for which cached content is served while Postgres is unreachable; then 503.",
    )
    password_hashes_at_once: int = Field(
        default_factory=lambda: min(4, os.cpu_count() or 1),
        ge=1,
        le=256,
        description="Passwords that this machine hashes at the same time, each in 100 MiB; default: cores, up to 4.",
    )
    max_connections: int = Field(
        default=8192,
        ge=16,
        le=1_000_000,
        description="Connections that one worker keeps open; further ones wait to be accepted. Once three quarters of "
        "them are in use, idle ones of the addresses with most are closed, and after some seconds those that "
        "move less than 16 KiB a second.",
    )
    max_uploads_at_once: int = Field(
        default=256,
        ge=1,
        le=1_000_000,
        description="Upload requests that one worker writes at the same time; further ones get 429. One subject "
        "may use half of them, and less the more others use.",
    )
    body_memory_bytes: int = Field(
        default=256 * 1024 * 1024,
        ge=32 * 1024 * 1024,
        le=1 << 40,
        description="Memory of one worker for request bodies that are read whole (manifests, API requests, short "
        "uploads), in bytes; one client may take half of it, and less the more others take.",
    )
    cache_bytes: int = Field(
        default=128 * 1024 * 1024,
        ge=16 * 1024 * 1024,
        le=1 << 40,
        description="Memory of one process for its caches, in bytes. They fill while it serves; what was used longest "
        "ago goes first.",
    )
    sandboxes_at_once: int = Field(
        default=2,
        ge=1,
        le=64,
        description="Processes of this machine that read untrusted content (charts, archives) at the same time, each "
        "with up to 256 MiB.",
    )
    header_timeout_s: int = Field(
        default=75,
        ge=1,
        le=86_400,
        description="Seconds within which a request's head must arrive, and after which an idle connection ends. Set "
        "more than the idle timeout of a proxy in front (60 s, mostly).",
    )
    body_idle_timeout_s: int = Field(
        default=60, ge=1, le=86_400, description="Seconds without a byte after which a request body is rejected."
    )
    body_min_rate_bytes: int = Field(
        default=1024,
        ge=1,
        le=1 << 30,
        description="Bytes per second below which a request body is rejected, once body_idle_timeout_s of waiting are "
        "used up.",
    )
    shutdown_grace_s: int = Field(
        default=20,
        ge=1,
        le=86_400,
        description="Seconds that requests and jobs in progress have to finish at shutdown.",
    )

    settings: dict[str, Any] = Field(
        default_factory=dict,
        description="Run-time settings by key (JSON object) that cannot be changed by the API: "
        "`GET /api/v2.0/configurations` lists them.",
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level logged.")
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="json, console, or auto: console when stderr is a terminal."
    )
    watch_event_loop_ms: int = Field(
        default=0,
        ge=0,
        le=3_600_000,
        description="Log what blocks the event loop for longer, with its stack; 0: off.",
    )

    @field_validator("data", "machine")
    @classmethod
    def _directory(cls, path: Path | None) -> Path | None:
        return path and forms.directory(path)

    @field_validator("tls_cert", "tls_key")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return path and forms.absolute(path)

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        return forms.time_zone(name)

    @field_validator("host")
    @classmethod
    def _listened_on(cls, host: str) -> str:
        return forms.listened_on(host)

    @field_validator("s3_bucket")
    @classmethod
    def _bucket_for_s3(cls, bucket: str | None, info: ValidationInfo) -> str | None:
        if bucket is None and info.data.get("storage") == "s3":
            raise ValueError("name the bucket in which storage: s3 keeps the blobs")
        return bucket and forms.bucket(bucket)

    @field_validator("s3_secret_key")
    @classmethod
    def _key_and_secret(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if (secret is None) != (info.data.get("s3_access_key") is None):
            raise ValueError("goes together with s3_access_key: set both, or neither to use an IAM role")
        return secret

    @field_validator("s3_prefix")
    @classmethod
    def _folder(cls, prefix: str) -> str:
        return forms.folder_in_bucket(prefix)

    @field_validator("s3_region")
    @classmethod
    def _region(cls, region: str | None) -> str | None:
        return region and forms.region(region)

    @field_validator("s3_endpoint", "s3_public_endpoint")
    @classmethod
    def _store_url(cls, url: str | None) -> str | None:
        return url and forms.store_address(url)

    @field_validator("s3_ca_file")
    @classmethod
    def _readable_file(cls, path: Path | None) -> Path | None:
        return path and forms.file(path)

    @field_validator("external_url")
    @classmethod
    def _web_origin(cls, url: str | None) -> str | None:
        return url and forms.web_address(url)

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _networks(cls, value: Any) -> tuple[Network, ...]:
        return tuple(ipaddress.ip_network(item) for item in forms.items(value))

    @field_validator("hostname", mode="before")
    @classmethod
    def _names(cls, value: Any) -> tuple[str, ...]:
        return tuple(forms.host_name(item) for item in forms.items(value))

    @field_validator("run_as")
    @classmethod
    def _account(cls, text: str | None) -> str | None:
        if text is not None:
            parse_account(text)
        return text

    @field_validator("settings", mode="before")
    @classmethod
    def _run_time_settings(cls, value: Any) -> dict[str, Any]:
        try:
            values = json.loads(value) if isinstance(value, str) else value
        except (ValueError, RecursionError):
            raise ValueError('must be a JSON object such as {"read_only": true}') from None
        if not isinstance(values, dict):
            raise ValueError('must be a JSON object such as {"read_only": true}')
        try:
            return dict(parsed(values))
        except InvalidInput as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _tls_makes_sense(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together: set both or none")
        if self.serves_tls and self.external_url and not self.is_https:
            raise ValueError("external_url begins with http://, but TLS is on: write https://, or set tls to false")
        if self.http_port == self.port:
            raise ValueError("http_port must be another port than port, which speaks HTTPS")
        return self

    @model_validator(mode="after")
    def _bodies_fit(self) -> Self:
        if self.body_memory_bytes < 2 * self.manifest_limit_bytes:
            raise ValueError("body_memory_bytes must be at least twice manifest_limit_bytes: raise it")
        return self

    @field_validator("database_url", "database_direct_url")
    @classmethod
    def _postgres_url(cls, url: SecretStr | None) -> SecretStr | None:
        return url and SecretStr(forms.postgres_url(url.get_secret_value()))

    @field_validator("redis_url")
    @classmethod
    def _redis_url(cls, url: SecretStr | None) -> SecretStr | None:
        return url and SecretStr(forms.redis_url(url.get_secret_value()))

    @classmethod
    def load(cls) -> Self:
        """Read file and environment again. Raises ConfigError."""
        given = _given()
        try:
            return cls(**{key: item.value for key, item in given.items()})
        except ValidationError as error:
            raise ConfigError(_readable(error, given)) from None

    @property
    def secrets_dir(self) -> Path:
        """The directory of secrets that Portolan generates for itself; mode 0700."""
        return self.data / "secrets"

    @property
    def run_dir(self) -> Path:
        """The directory for files of running processes; needs no backup."""
        return self.machine or self.data / "run"

    @property
    def tls_dir(self) -> Path:
        """The directory of our own CA and its certificate."""
        return self.data / "tls"

    @property
    def serves_tls(self) -> bool:
        """Whether `serve` itself speaks HTTPS."""
        return bool(self.hostname) or self.tls_cert is not None if self.tls is None else self.tls

    @property
    def is_https(self) -> bool:
        """Whether clients use TLS, which ends in this process or in a proxy."""
        return self.external_url.startswith("https://") if self.external_url else self.serves_tls

    @property
    def url_prefix(self) -> str:
        """The path of the external URL, without a trailing slash: what a proxy strips from requests."""
        return urlsplit(self.external_url).path if self.external_url else ""

    @property
    def origin(self) -> str | None:
        """The external URL without its path."""
        return self.external_url and self.external_url.removesuffix(self.url_prefix)

    @property
    def authority(self) -> str | None:
        """The external URL's host and port: what precedes a repository's name in an image reference."""
        return self.external_url and urlsplit(self.external_url).netloc

    @property
    def database_dsn(self) -> str | None:
        """URL of the database: the configured one, else that of a `portolan up` on the same data, else None."""
        return _revealed(self.database_url) or _read_line(self.run_dir / "database.url")

    @property
    def database_direct_dsn(self) -> str | None:
        """URL of the database for session locks and LISTEN; as `database_dsn` when no other is configured."""
        return _revealed(self.database_direct_url) or self.database_dsn

    @property
    def prepared_after(self) -> int | None:
        """After how many executions on a connection the server prepares a statement; None: never.

        Never behind a transaction pooler (which `database_direct_url` implies), since a prepared statement exists in
        one server process only.
        """
        return PREPARED_AFTER if self.database_direct_url is None else None

    @property
    def redis_dsn(self) -> str | None:
        """URL of Valkey: the configured one, else that of a `portolan up` on the same data, else None."""
        return _revealed(self.redis_url) or _read_line(self.run_dir / "redis.url")


@lru_cache(maxsize=1)
def get_config() -> Config:
    """The configuration of this process, read at the first call. Raises ConfigError."""
    return Config.load()


def describe(config: Config | None = None) -> list[Setting]:
    """Every setting with its value (secrets masked) and its origin, in the order of the fields."""
    config, given = config or get_config(), _given()
    return [Setting(key, _shown(getattr(config, key)), _source(given.get(key))) for key in Config.model_fields]


def place_of(key: str) -> str:
    """How an error names the setting `key`: as it was written, or by its variable if it was not."""
    return _place(key, _given())


def mask_url(url: str) -> str:
    """`url` with the password of its authority, and secrets in its query, masked."""
    try:
        parts = urlsplit(url)
        query = "&".join(_masked_parameter(parameter) for parameter in parts.query.split("&"))
    except ValueError:
        return MASK
    return parts._replace(netloc=_masked_netloc(parts), query=query).geturl()


def _masked_netloc(parts: SplitResult) -> str:
    credentials, at, host = parts.netloc.rpartition("@")
    user, colon, _ = credentials.partition(":")
    return f"{user}{colon}{MASK if colon else ''}{at}{host}"


def _masked_parameter(parameter: str) -> str:
    name, equals, _ = parameter.partition("=")
    return f"{name}{equals}{MASK}" if "password" in name.lower() else parameter


def _shown(value: object) -> str:
    if isinstance(value, SecretStr):
        secret = value.get_secret_value()
        return mask_url(secret) if "://" in secret else MASK
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}={MASK if KEYS[name].is_secret else item}" for name, item in value.items())
    return "" if value is None else str(value)


def _source(given: Given | None) -> str:
    return given.source if given else "default"


def _given() -> dict[str, Given]:
    fields = Config.model_fields
    return read_given(
        keys=list(fields),
        secret_keys=[key for key, field in fields.items() if field.annotation == SecretStr | None],
        path_keys=[key for key, field in fields.items() if field.annotation in {Path, Path | None}],
    )


def _readable(error: ValidationError, given: Mapping[str, Given]) -> str:
    """The problem of each setting. The value itself is left out: it may be a secret."""
    problems = error.errors(include_input=False, include_url=False)
    return "; ".join(
        f"{_place_of(problem['loc'], given)}{problem['msg'].removeprefix('Value error, ')}" for problem in problems
    )


def _place_of(location: tuple[int | str, ...], given: Mapping[str, Given]) -> str:
    """Where the setting is written; empty for a problem between several settings, whose message names them."""
    return f"{_place(str(location[0]), given)}: " if location else ""


def _place(key: str, given: Mapping[str, Given]) -> str:
    return given[key].place if key in given else PREFIX + key.upper()


def _revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None


def _read_line(path: Path) -> str | None:
    try:
        return path.read_text("utf-8").strip() or None
    except OSError:
        return None
