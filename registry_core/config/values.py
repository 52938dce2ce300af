"""The formats of settings: lists, host names, addresses, paths. Each function raises ValueError.

No message repeats the part of a URL that may contain a password.
"""

import contextlib
import ipaddress
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_URL_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?")
_HOST_NAME = re.compile(r"(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_BUCKET_FOLDER = re.compile(r"(?:[A-Za-z0-9!_.*'()-]+/)*")
PREFIX_MAX = 800
OWN_NAMES = {"objects", "journal", "trash", "installation.json"}  # of an installation at the top of a bucket
_REGION = re.compile(r"[a-z0-9-]+")
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HOST_AND_PORT = re.compile(r"(?:\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?")
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SSL_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_ENCODE = (
    "percent-encode these characters in user name and password: @ is %40, : is %3A, / is %2F, # is %23, "
    "? is %3F, % is %25, a blank is %20"
)
_REDIS_SCHEMES = {"valkey": "redis", "valkeys": "rediss"}
# Supported by both clients, redis-py and Celery's.
_REDIS_OPTIONS = ("ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile")
_REDIS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_CERT_REQS = ("required", "optional", "none")
_SECONDS_AND_COUNTS = (
    "connect_timeout", "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval", "tcp_user_timeout",
)  # fmt: skip


def time_zone(name: str) -> str:
    """The name of a zone in the IANA database, such as Europe/Berlin."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"{name[:64]!r} is no time zone: use a name of the IANA database, such as Europe/Berlin"
        ) from None
    return name


def web_address(url: str) -> str:
    """`http://HOST[:PORT][/PATH]`, or the same with https, without a trailing slash."""
    parts = _plain_url(url, "http", "https", form="http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH]")
    if not _URL_PATH.fullmatch(parts.path) or {".", ".."} & set(parts.path.split("/")):
        raise ValueError("must be http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH]")
    return parts.geturl().rstrip("/")  # with the scheme in lower case, for comparisons


def store_address(url: str) -> str:
    """`http://HOST[:PORT]` or `https://HOST[:PORT]` of an object store."""
    _plain_url(url, "http", "https", form="http://HOST[:PORT] or https://HOST[:PORT]")
    return url


def postgres_url(url: str) -> str:
    """A URL of a database, as libpq accepts it."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    _with_scheme(url, "postgresql", "postgres")
    if not all(_is_host_and_port(host) for host in _encoded_authority(url).split(",")):
        raise ValueError("must be postgresql://USER:PASSWORD@HOST[:PORT]/DATABASE, with a port from 1 to 65535")
    try:
        parts = conninfo_to_dict(url)
    except ProgrammingError as error:
        unknown = re.search(r'invalid URI query parameter: "([^"]*)"', str(error))
        raise ValueError(
            f"PostgreSQL has no connection option {unknown[1]!r}: correct the part after the ?" if unknown
            else f"must be postgresql://USER:PASSWORD@HOST[:PORT]/DATABASE; {_ENCODE}"
        ) from None  # fmt: skip
    _check_numbers(parts)
    _check_ssl(parts)
    return url


def redis_url(url: str) -> str:
    """A URL of Valkey or Redis, with a scheme that both clients accept."""
    scheme, _, rest = url.partition("://")
    url = f"{_REDIS_SCHEMES.get(scheme, scheme)}://{rest}"
    _with_scheme(url, "redis", "rediss", also=("valkey", "valkeys"))
    _encoded_authority(url)
    parts = urlsplit(url)
    if not _has_port(parts):
        raise ValueError("must be redis://[:PASSWORD@]HOST[:PORT]/NUMBER, with a port from 1 to 65535")
    if not re.fullmatch(r"/?[0-9]*", parts.path):
        raise ValueError("the database after the host must be a number: redis://HOST[:PORT]/0")
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        _check_redis_option(parts.scheme, name, value)
    return url


def _check_redis_option(scheme: str, name: str, value: str) -> None:
    if name not in _REDIS_OPTIONS:
        raise ValueError(f"unknown option {name!r}: correct the part after the ?")
    if scheme != "rediss":
        raise ValueError(f"{name} is for TLS: use rediss://, or leave it out")
    if name == "ssl_cert_reqs" and value not in _CERT_REQS:
        raise ValueError(f"ssl_cert_reqs must be one of {', '.join(_CERT_REQS)}")
    if name in _REDIS_FILES:
        _require_file(name, value)


def items(value: Any) -> list[str]:
    """A list, as YAML or separated by commas."""
    parts = value if isinstance(value, list | tuple) else str(value).split(",")
    return [text for part in parts if (text := str(part).strip())]


def host_name(text: str) -> str:
    """A DNS name in ASCII form, or an address in its shortest form. Raises ValueError."""
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(text.strip("[]")))
    try:
        name = text.lower() if text.isascii() else text.encode("idna").decode()
    except UnicodeError:
        name = ""
    if not _HOST_NAME.fullmatch(name) or len(name) > 253 or name.rpartition(".")[2].isdigit():
        raise ValueError(f"{text!r} is neither a host name nor an address (and has no port and no https://)")
    return name


def listened_on(host: str) -> str:
    """An address, or a host name, to listen on."""
    host_name(host)
    return host.strip("[]")


def absolute(path: Path) -> Path:
    """The absolute path; `~` is a home directory."""
    try:
        return Path(os.path.abspath(path.expanduser()))
    except RuntimeError:
        raise ValueError("no account of the name after the ~ has a home directory: write the whole path") from None


def directory(path: Path) -> Path:
    """An absolute path to a directory, or to nothing yet."""
    path = absolute(path)
    try:
        blocking = next((step for step in (path, *path.parents) if step.exists()), path)
        is_blocked = blocking.exists() and not blocking.is_dir()
    except OSError as error:
        raise ValueError(f"cannot access this directory ({error.strerror}): name another") from None
    if is_blocked:
        raise ValueError(f"{blocking} is a file: name a directory")
    return path


def file(path: Path) -> Path:
    """The absolute path of an existing file."""
    path = absolute(path)
    try:
        is_file = path.is_file()
    except OSError as error:
        raise ValueError(f"cannot access this file ({error.strerror}): name another") from None
    if not is_file:
        raise ValueError("this file does not exist")
    return path


def bucket(name: str) -> str:
    """The name of a bucket, not its URL."""
    if not _BUCKET.fullmatch(name):
        raise ValueError("must be the bucket's name alone, of 3 characters or more, without s3:// and folders")
    return name


def folder_in_bucket(prefix: str) -> str:
    """A folder of a bucket, with a trailing slash; empty for the whole bucket."""
    folder = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    if not _BUCKET_FOLDER.fullmatch(folder) or {".", ".."} & set(folder.split("/")):
        raise ValueError("must be folder names of letters, digits and _.-!*'() with slashes between them")
    if len(folder) > PREFIX_MAX:
        raise ValueError(f"must have at most {PREFIX_MAX} characters: a key in a bucket has 1024 in all")
    if folder.partition("/")[0] in OWN_NAMES:
        raise ValueError(
            f"must not begin with {folder.partition('/')[0]}, which an installation without a prefix uses: "
            "choose another"
        )
    return folder


def region(name: str) -> str:
    """The name of a region, such as eu-central-1."""
    if not _REGION.fullmatch(name):
        raise ValueError("must be a region's name, such as eu-central-1")
    return name


def _plain_url(url: str, *schemes: str, form: str) -> SplitResult:
    """A URL with a valid host and without credentials, query or fragment."""
    if any(character.isspace() or not character.isprintable() for character in url):
        raise ValueError(f"must be {form}, without blanks")
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ValueError(f"must be {form}, without a user name and a password")
    is_plain = not parts.query and not parts.fragment and not url.endswith(("?", "#"))
    if parts.scheme not in schemes or not parts.hostname or not _has_port(parts) or not is_plain:
        raise ValueError(f"must be {form}")
    if not url.isascii():
        raise ValueError(f"must be {form}, in ASCII: the host's name is {host_name(parts.hostname)}")
    host_name(parts.hostname)
    return parts


def _has_port(parts: SplitResult) -> bool:
    """Whether the port, if there is one, is valid."""
    try:
        return parts.port != 0 and not parts.netloc.endswith(":")
    except ValueError:
        return False


def _with_scheme(url: str, *schemes: str, also: tuple[str, ...] = ()) -> None:
    if url.partition("://")[0] not in schemes:
        raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in (*schemes, *also))}")


def _encoded_authority(url: str) -> str:
    """Host and port of a URL whose credentials are correctly encoded."""
    rest = url.partition("://")[2]
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    is_stray = "#" in rest or rest.count("@") > authority.count("@") or authority.count("@") > 1
    if is_stray or _PERCENT.search(rest) or any(c.isspace() or not c.isprintable() for c in rest):
        raise ValueError(_ENCODE)
    return authority.rpartition("@")[2]


def _is_host_and_port(text: str) -> bool:
    match = _HOST_AND_PORT.fullmatch(text)
    return match is not None and (match[1] is None or 0 < int(match[1]) <= 65_535)


def _check_ssl(parts: dict[str, Any]) -> None:
    mode = parts.get("sslmode")
    if mode is not None and mode not in _SSL_MODES:
        raise ValueError(f"sslmode must be one of {', '.join(_SSL_MODES)}")
    for name in _SSL_FILES:
        path = parts.get(name)
        if path and path != "system":
            _require_file(name, path)


def _check_numbers(parts: dict[str, Any]) -> None:
    for name in _SECONDS_AND_COUNTS:
        if not re.fullmatch("[0-9]{1,6}", str(parts.get(name, 0))):
            raise ValueError(f"{name} must be a number: correct the part after the ?")


def _require_file(name: str, path: str) -> None:
    try:
        is_file = Path(path).is_file()
    except OSError as error:
        raise ValueError(f"{name}: cannot access {path[:80]} ({error.strerror})") from None
    if not is_file:
        raise ValueError(f"{name}: the file {path} does not exist")
