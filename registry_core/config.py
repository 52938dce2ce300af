"""The configuration of a Portolan process: environment `PORTOLAN_*` over `portolan.yml` over defaults.

Settings that an administrator changes at run time are not here: those are rows in Postgres.
"""

import difflib
import ipaddress
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self
from urllib.parse import SplitResult, urlsplit

import yaml
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from registry_core.config_values import host_name, items, web_address
from registry_core.errors import InvalidInput
from registry_core.settings_store.keys import KEYS, parsed

PREFIX = "PORTOLAN_"
CONFIG_PATH_VARIABLE = "PORTOLAN_CONFIG"
DEFAULT_CONFIG_PATH = Path("portolan.yml")
MASK = "********"
PREPARED_AFTER = 2
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ConfigError(Exception):
    """The configuration cannot be used; the message says which setting and what to do. Contains no secret."""


class Setting(NamedTuple):
    """One setting as `portolan settings` shows it; `value` is masked where it is secret."""

    key: str
    value: str
    source: str


class Config(BaseSettings):
    """What a process needs to know before it can reach Postgres. Read once; immutable."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=5080, ge=1, le=65535, description="TCP port to listen on.")
    data: Path = Field(default=Path("data"), description="Directory of blobs, secrets and the embedded servers.")
    machine: Path | None = Field(
        default=None,
        description="Directory of what belongs to this machine alone (locks, caches' generations); default: DATA/run. "
        "Machines that share DATA need one each.",
    )
    external_url: str | None = Field(
        default=None, description="URL under which clients reach this registry; default: what the request's Host says."
    )
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = Field(
        default=(),
        description="Networks (CIDR, comma-separated) whose X-Forwarded-* and Forwarded headers are believed.",
    )
    workers: int = Field(default=2, ge=1, le=256, description="Processes that `serve` starts.")
    admin_password: SecretStr | None = Field(
        default=None, description="Password of `admin` at the first start; default: a random one."
    )

    tls: bool | None = Field(
        default=None, description="Whether `serve` speaks HTTPS; default: when hostname or tls_cert is set."
    )
    hostname: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Names and addresses (comma-separated) by which clients reach this machine, for its certificate.",
    )
    tls_cert: Path | None = Field(
        default=None, description="PEM file of a certificate and its chain; default: one made by our own CA."
    )
    tls_key: Path | None = Field(default=None, description="PEM file of the key of tls_cert.")
    tls_lifetime_s: int = Field(
        default=90 * 86_400,
        ge=5,
        le=397 * 86_400,
        description="Seconds for which a certificate of our own CA is valid.",
    )
    http_port: int | None = Field(
        default=None, ge=1, le=65535, description="Port on which plain HTTP is told to use HTTPS; default: none."
    )

    database_url: SecretStr | None = Field(
        default=None, description="postgresql:// URL; default: the embedded server of `portolan up`."
    )
    database_direct_url: SecretStr | None = Field(
        default=None, description="The same database without a transaction pooler, for locks and LISTEN."
    )
    database_pool_max: int = Field(default=16, ge=1, le=1000, description="Database connections per process.")
    redis_url: SecretStr | None = Field(
        default=None, description="redis:// URL of Valkey or Redis; default: the embedded one of `portolan up`."
    )

    storage: Literal["filesystem", "s3"] = Field(
        default="filesystem", description="Where new blobs go; blobs that lie in the other one stay readable."
    )
    s3_bucket: str | None = Field(default=None, validate_default=True, description="Bucket of blobs.")
    s3_prefix: str = Field(default="", description="Folder in the bucket, for a bucket that others use too.")
    s3_region: str | None = Field(default=None, description="Region; default: as the AWS tools find it, or us-east-1.")
    s3_endpoint: str | None = Field(default=None, description="URL of a store that is not AWS.")
    s3_public_endpoint: str | None = Field(
        default=None, description="URL under which clients reach the store, when it differs from s3_endpoint."
    )
    s3_access_key: str | None = Field(
        default=None, description="Access key; default: as the AWS tools find one (environment, profile, IAM role)."
    )
    s3_secret_key: SecretStr | None = Field(default=None, validate_default=True, description="Secret of s3_access_key.")
    s3_path_style: bool = Field(
        default=False, description="Name the bucket in the path (MinIO, Ceph), not in the host name."
    )
    s3_sse: Literal["AES256", "aws:kms"] | None = Field(default=None, description="Encryption to ask the store for.")
    s3_kms_key_id: str | None = Field(default=None, description="KMS key for s3_sse aws:kms; default: the bucket's.")
    s3_ca_file: Path | None = Field(default=None, description="CA certificates (PEM) to trust for the store.")
    s3_redirect: bool = Field(
        default=True, description="Send pulling clients to the store by a signed URL; false: pass the bytes through."
    )
    s3_redirect_ttl_s: int = Field(
        default=1200,
        ge=60,
        le=604_800,
        description="Seconds for which a signed URL can be used; the last one to get it has three quarters.",
    )
    s3_part_bytes: int = Field(
        default=16 * 1024 * 1024,
        ge=5 * 1024 * 1024,
        le=1024 * 1024 * 1024,
        description="Size of the first parts of an object, and the memory that an upload may take.",
    )
    s3_equal_parts: bool = Field(
        default=False, description="Make all parts of an object equally large, as Cloudflare R2 demands."
    )
    s3_timeout_s: int = Field(default=60, ge=1, description="Seconds to wait for the store's answer, for each attempt.")
    s3_attempts: int = Field(default=6, ge=1, le=20, description="Attempts at a request that the store does not serve.")

    upload_ttl_s: int = Field(default=86_400, ge=60, description="Seconds after which an idle upload is removed.")
    manifest_limit_bytes: int = Field(
        default=4 * 1024 * 1024, ge=1024, le=64 * 1024 * 1024, description="Largest manifest accepted, in bytes."
    )
    deleted_retention_days: int = Field(
        default=14, ge=0, description="Days for which what was deleted can be brought back; 0: not at all."
    )
    token_ttl_s: int = Field(default=1800, ge=60, le=86_400, description="Seconds for which a bearer token is valid.")
    stale_if_down_s: int = Field(
        default=60,
        ge=0,
        description="Seconds for which what is remembered is served while Postgres is unreachable; then all gets 503.",
    )
    password_hashes_at_once: int = Field(
        default_factory=lambda: min(4, os.cpu_count() or 1),
        ge=1,
        le=256,
        description="Passwords that this machine hashes at the same time, each in 100 MiB; default: cores, up to 4.",
    )
    max_connections: int = Field(
        default=8192, ge=16, description="Connections that one worker keeps open; further ones wait to be accepted."
    )
    max_uploads_at_once: int = Field(
        default=256, ge=1, description="Upload requests that one worker takes at the same time; further ones get 429."
    )
    header_timeout_s: int = Field(
        default=60, ge=1, description="Seconds in which a request's head must have come, or an idle connection ends."
    )
    body_idle_timeout_s: int = Field(
        default=60, ge=1, description="Seconds without a byte after which a request body is given up."
    )
    shutdown_grace_s: int = Field(
        default=20, ge=1, description="Seconds that requests and jobs in progress get at shutdown."
    )

    settings: Annotated[dict[str, Any], NoDecode] = Field(
        default_factory=dict,
        description="Run-time settings by key (JSON object) that cannot be changed by the API: "
        "`GET /api/v2.0/configurations` lists them.",
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level logged.")
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="json, console, or auto: console when stderr is a terminal."
    )
    watch_event_loop_ms: int = Field(
        default=0, ge=0, description="Log what holds up the event loop for longer, with its stack; 0: do not look."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment first, then the values of the file, which come in as keyword arguments."""
        return env_settings, init_settings

    @field_validator("data", "machine")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return Path(os.path.abspath(path.expanduser())) if path else None

    @field_validator("s3_bucket")
    @classmethod
    def _bucket_for_s3(cls, bucket: str | None, info: ValidationInfo) -> str | None:
        if bucket is None and info.data.get("storage") == "s3":
            raise ValueError("name the bucket that PORTOLAN_STORAGE=s3 keeps the blobs in")
        return bucket

    @field_validator("s3_secret_key")
    @classmethod
    def _key_and_secret(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if (secret is None) != (info.data.get("s3_access_key") is None):
            raise ValueError("goes together with PORTOLAN_S3_ACCESS_KEY: set both, or neither to use an IAM role")
        return secret

    @field_validator("s3_prefix")
    @classmethod
    def _folder(cls, prefix: str) -> str:
        return f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    @field_validator("s3_endpoint", "s3_public_endpoint")
    @classmethod
    def _store_url(cls, url: str | None) -> str | None:
        if url is not None and (urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname):
            raise ValueError("must be http://HOST[:PORT] or https://HOST[:PORT]")
        return url

    @field_validator("s3_ca_file")
    @classmethod
    def _readable_file(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_file():
            raise ValueError("there is no such file")
        return path

    @field_validator("external_url")
    @classmethod
    def _web_origin(cls, url: str | None) -> str | None:
        if url is None:
            return None
        return web_address(url)

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _networks(cls, value: Any) -> tuple[Network, ...]:
        return tuple(ipaddress.ip_network(item) for item in items(value))

    @field_validator("hostname", mode="before")
    @classmethod
    def _names(cls, value: Any) -> tuple[str, ...]:
        return tuple(host_name(item) for item in items(value))

    @field_validator("settings", mode="before")
    @classmethod
    def _run_time_settings(cls, value: Any) -> dict[str, Any]:
        try:
            values = json.loads(value) if isinstance(value, str) else value
        except ValueError:
            raise ValueError('must be a JSON object such as {"read_only": true}') from None
        if not isinstance(values, dict):
            raise ValueError('must be a JSON object such as {"read_only": true}')
        try:
            return dict(parsed(values))
        except InvalidInput as error:
            raise ValueError(str(error)) from None

    @field_validator("tls_cert", "tls_key")
    @classmethod
    def _absolute_or_none(cls, path: Path | None) -> Path | None:
        return path and Path(os.path.abspath(path.expanduser()))

    @model_validator(mode="after")
    def _tls_makes_sense(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together: set both or none")
        if self.serves_tls and self.external_url and not self.is_https:
            raise ValueError("external_url begins with http://, but TLS is on: write https://, or set tls to false")
        if self.http_port == self.port:
            raise ValueError("http_port must be another port than port, which speaks HTTPS")
        return self

    @field_validator("database_url", "database_direct_url")
    @classmethod
    def _postgres_url(cls, url: SecretStr | None) -> SecretStr | None:
        return _with_scheme(url, "postgresql", "postgres")

    @field_validator("redis_url")
    @classmethod
    def _redis_url(cls, url: SecretStr | None) -> SecretStr | None:
        return _with_scheme(url, "redis", "rediss", "unix")

    @classmethod
    def load(cls) -> Self:
        """Read file and environment afresh. Raises ConfigError."""
        values = _file_values()
        _refuse_unknown_variables()
        try:
            return cls(**values)
        except ValidationError as error:
            raise ConfigError(_readable(error)) from None

    @property
    def secrets_dir(self) -> Path:
        """Where the secrets lie that Portolan makes for itself; mode 0700."""
        return self.data / "secrets"

    @property
    def run_dir(self) -> Path:
        """Where the files of running processes lie; nothing here is worth a backup."""
        return self.machine or self.data / "run"

    @property
    def tls_dir(self) -> Path:
        """Where our own CA and the certificate that it signed lie."""
        return self.data / "tls"

    @property
    def serves_tls(self) -> bool:
        """Whether `serve` itself speaks HTTPS."""
        return bool(self.hostname) or self.tls_cert is not None if self.tls is None else self.tls

    @property
    def is_https(self) -> bool:
        """Whether clients come by TLS, which this process ends or a proxy."""
        return self.external_url.startswith("https://") if self.external_url else self.serves_tls

    @property
    def url_prefix(self) -> str:
        """The path of the external URL, without a slash at its end: what a proxy strips before it asks us."""
        return urlsplit(self.external_url).path if self.external_url else ""

    @property
    def origin(self) -> str | None:
        """The external URL without its path."""
        return self.external_url and self.external_url.removesuffix(self.url_prefix)

    @property
    def authority(self) -> str | None:
        """The external URL's host and port: what stands before a repository's name in an image reference."""
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
        """After how many times a connection has the server prepare a statement; None: never.

        Not behind a transaction pooler (there is one when the database has another address past it): what is prepared
        is known to one server process.
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
    """Every setting with its value (secrets masked) and where it comes from, in the order of the fields."""
    config = config or get_config()
    file_keys = _file_values().keys()
    return [Setting(key, _shown(getattr(config, key)), _source(key, file_keys)) for key in Config.model_fields]


def mask_url(url: str) -> str:
    """`url` with the password of its authority, and secrets in its query, replaced by a mask."""
    try:
        parts = urlsplit(url)
        query = "&".join(_masked_parameter(parameter) for parameter in parts.query.split("&"))
    except ValueError:
        return MASK
    return parts._replace(netloc=_masked_netloc(parts), query=query).geturl()


def config_path() -> Path | None:
    """The configuration file: PORTOLAN_CONFIG, else `portolan.yml` here, else None."""
    if named := os.environ.get(CONFIG_PATH_VARIABLE):
        return Path(named)
    return DEFAULT_CONFIG_PATH if DEFAULT_CONFIG_PATH.is_file() else None


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


def _source(key: str, file_keys: Any) -> str:
    if _environment_value(key):
        return f"environment {PREFIX}{key.upper()}"
    return str(config_path()) if key in file_keys else "default"


def _environment_value(key: str) -> str | None:
    wanted = f"{PREFIX}{key}".upper()
    return next((value for name, value in os.environ.items() if name.upper() == wanted), None)


def _file_values() -> dict[str, Any]:
    path = config_path()
    if path is None:
        return {}
    try:
        values = yaml.safe_load(path.read_text("utf-8")) or {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the configuration file {path}: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML{_position(error)}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold `key: value` lines, see `portolan settings`")
    for key in values:
        if key not in Config.model_fields:
            raise ConfigError(f"{path}: unknown key {key!r}{_nearest(str(key), list(Config.model_fields))}")
    return values


def _position(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f", line {mark.line + 1}" if mark else ""


def _refuse_unknown_variables() -> None:
    known = [CONFIG_PATH_VARIABLE, *(f"{PREFIX}{key.upper()}" for key in Config.model_fields)]
    for name in os.environ:
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            raise ConfigError(f"unknown environment variable {name}{_nearest(name.upper(), known)}")


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f", did you mean {close[0]}?" if close else "; `portolan settings` lists what there is"


def _readable(error: ValidationError) -> str:
    """One line per wrong setting. The value itself is left out: it may be a secret."""
    problems = error.errors(include_input=False, include_url=False)
    return "; ".join(
        f"{_setting_of(problem['loc'])}{problem['msg'].removeprefix('Value error, ')}" for problem in problems
    )


def _setting_of(location: tuple[int | str, ...]) -> str:
    """The variable that a problem is about; empty for one between several settings, whose message names them."""
    return f"{PREFIX}{str(location[0]).upper()}: " if location else ""


def _with_scheme(url: SecretStr | None, *schemes: str) -> SecretStr | None:
    if url is not None and url.get_secret_value().partition("://")[0] not in schemes:
        raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    return url


def _revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None


def _read_line(path: Path) -> str | None:
    try:
        return path.read_text("utf-8").strip() or None
    except OSError:
        return None
