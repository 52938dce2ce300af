"""Sources of settings: the configuration file and the environment, before validation.

Each value keeps its place, so that an error can name it as it was written: `PORTOLAN_PORT`, or `portolan.yml, line 3:
port`.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PREFIX = "PORTOLAN_"
CONFIG_PATH_VARIABLE = "PORTOLAN_CONFIG"
DEFAULT_CONFIG_PATH = Path("portolan.yml")
FILE_SUFFIX = "_file"

# Variables that Kubernetes sets in every container of a namespace for a Service named `portolan` or `portolan-…`.
_SERVICE_NAME = re.compile(
    r"PORTOLAN_(?:[A-Z0-9_]+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_[A-Z]+)?)"
)
_SERVICE_PORT_NAME = re.compile(r"PORTOLAN_(?:[A-Z0-9_]+_)?PORT")
_SERVICE_PORT_VALUE = re.compile(r"(?:tcp|udp|sctp)://")


class ConfigError(Exception):
    """The configuration is invalid; the message names the setting and the remedy. Contains no secret."""


@dataclass(frozen=True, slots=True)
class Given:
    """A value as it was written. `place` is its name in errors, `source` its name in `portolan settings`."""

    value: Any
    place: str
    source: str


def read_given(*, keys: Collection[str], secret_keys: Collection[str], path_keys: Collection[str]) -> dict[str, Given]:
    """The value written for each of `keys`, the environment before the file.

    `PORTOLAN_<KEY>_FILE` names a file with one of `secret_keys`. Relative paths in the configuration file are relative
    to its folder. Raises ConfigError for what is unreadable, unknown, or written twice.
    """
    from_file = _of_file(config_path(), keys=keys, path_keys=path_keys)
    return from_file | _of_environment(keys=keys, secret_keys=secret_keys)


def config_path() -> Path | None:
    """The configuration file: PORTOLAN_CONFIG, else `portolan.yml` here, else None."""
    if named := os.environ.get(CONFIG_PATH_VARIABLE):
        return Path(named)
    return DEFAULT_CONFIG_PATH if DEFAULT_CONFIG_PATH.is_file() else None


def variables_of_kubernetes() -> list[str]:
    """The variables that Kubernetes set for a Service whose name begins with `portolan`: they are not settings."""
    return sorted(name for name, value in os.environ.items() if _is_of_kubernetes(name, value))


def nearest(name: str, known: Collection[str]) -> str:
    """The end of an error about an unknown name: a suggestion."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f", did you mean {close[0]}?" if close else "; `portolan settings` lists what there is"


def _is_of_kubernetes(name: str, value: str) -> bool:
    if _SERVICE_NAME.fullmatch(name):
        return True
    return bool(_SERVICE_PORT_NAME.fullmatch(name) and _SERVICE_PORT_VALUE.match(value))


def _of_environment(*, keys: Collection[str], secret_keys: Collection[str]) -> dict[str, Given]:
    given: dict[str, Given] = {}
    for name, key, value in _variables():
        if key in keys:
            place, text = name, value
        elif key.removesuffix(FILE_SUFFIX) in secret_keys:
            place, key, text = name, key.removesuffix(FILE_SUFFIX), _content(name, value)
        else:
            known = [CONFIG_PATH_VARIABLE, *(f"{PREFIX}{key.upper()}" for key in keys)]
            raise ConfigError(f"unknown environment variable {name}{nearest(name.upper(), known)}")
        if value:
            if key in given:
                raise ConfigError(f"{given[key].place} and {place} are both set: unset one of them")
            given[key] = Given(text, place, f"environment {place}")
    return given


def _variables() -> Iterator[tuple[str, str, str]]:
    """Each variable that may be a setting: its name, its key, and its value."""
    for name, value in sorted(os.environ.items()):
        is_ours = name.upper().startswith(PREFIX) and name.upper() != CONFIG_PATH_VARIABLE
        if is_ours and not _is_of_kubernetes(name, value):
            yield name, name[len(PREFIX) :].lower(), value


def _content(name: str, path: str) -> str:
    try:
        return Path(path).read_text("utf-8").strip() if path else ""
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name}: cannot read {path}: {_reason(error)}") from None


def _of_file(path: Path | None, *, keys: Collection[str], path_keys: Collection[str]) -> dict[str, Given]:
    if path is None:
        return {}
    given: dict[str, Given] = {}
    for key, line, value in _lines(path):
        if key not in keys:
            raise ConfigError(f"{path}, line {line}: unknown key {key!r}{nearest(key, keys)}")
        if value is not None:
            if key in path_keys and isinstance(value, str):
                value = path.absolute().parent / Path(value).expanduser()
            given[key] = Given(value, f"{path}, line {line}: {key}", str(path))
    return given


def _lines(path: Path) -> Iterator[tuple[str, int, Any]]:
    """The key, line and value of each entry of the file. Raises ConfigError."""
    try:
        loader = yaml.SafeLoader(path.read_text("utf-8"))
        node = loader.get_single_node()
        if node is None:
            return
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{path} must hold `key: value` lines, see `portolan settings --explain`")
        _refuse_duplicates(path, node)
        lines = {str(key.value): key.start_mark.line + 1 for key, _ in node.value}
        values = loader.construct_document(node)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the configuration file {path}: {_reason(error)}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML{_position(error)}") from None
    except ValueError as error:  # an invalid date or number
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    for key, value in values.items():
        yield str(key), lines.get(str(key), 1), value


def _refuse_duplicates(path: Path, node: yaml.MappingNode) -> None:
    """Without this, YAML's loader would silently take the last of them."""
    seen: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if key.value != "<<" and (first := seen.setdefault(str(key.value), line)) != line:
            raise ConfigError(f"{path}, line {line}: {key.value} is already set in line {first}: remove one of them")
        if isinstance(value, yaml.MappingNode):
            _refuse_duplicates(path, value)


def _position(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f", line {mark.line + 1}" if mark else ""


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
