"""The keys that all machines of an installation must share, compared by fingerprints in the heartbeats."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from registry_core.config import ConfigError, get_config
from registry_core.tokens.keys import unreadable_keys

if TYPE_CHECKING:
    from registry_core.processes.heartbeats import Seen

SHARED_FILES: Final[tuple[str, ...]] = ("credentials.key", "settings.key", "django.key")
TOKEN_KEYS: Final[str] = "token-keys"  # noqa: S105 - the name of a folder
_LENGTH: Final = 16


def fingerprints() -> dict[str, Any]:
    """A fingerprint of each shared key that exists, by its name; for the token keys, their ids."""
    folder = get_config().secrets_dir
    found: dict[str, Any] = {name: _fingerprint(folder / name) for name in SHARED_FILES if (folder / name).exists()}
    kids = sorted(path.name.split(".")[1] for path in (folder / TOKEN_KEYS).glob("*.pem"))
    return found | ({TOKEN_KEYS: kids} if kids else {})


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """The names of keys that both have and that differ."""
    names = [name for name in SHARED_FILES if name in ours and name in theirs and ours[name] != theirs[name]]
    if TOKEN_KEYS in ours and TOKEN_KEYS in theirs and not set(ours[TOKEN_KEYS]) & set(theirs[TOKEN_KEYS]):
        names.append(TOKEN_KEYS)
    return names


def first_difference(heartbeats: Iterable[Seen], *, machine: str) -> tuple[Seen, list[str]] | None:
    """The most recently seen machine whose keys differ from ours, and which keys; None if none does."""
    ours = fingerprints()
    for heartbeat in heartbeats:
        if heartbeat.machine != machine and (names := differences(ours, heartbeat.facts)):
            return heartbeat, names
    return None


def require_readable() -> None:
    """Raises ConfigError for a key that this process may not read."""
    folder = get_config().secrets_dir
    closed = [path for path in (folder / name for name in SHARED_FILES) if path.exists() and not _is_readable(path)]
    closed += unreadable_keys(folder / TOKEN_KEYS)
    if closed:
        raise ConfigError(
            f"{closed[0]} cannot be read by the account that the registry runs as: give it to that account "
            f"(`chown --reference={folder.parent} {closed[0]}`)"
        )


def _is_readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


def _fingerprint(path: Path) -> str:
    try:
        return hashlib.sha256(b"portolan key\0" + path.read_bytes()).hexdigest()[:_LENGTH]
    except OSError:
        return ""
