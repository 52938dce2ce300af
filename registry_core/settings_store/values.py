"""The current values of the settings: read once, cached until one is changed.

As for every cache: valid while the generation `settings` stays the same. In a process that does not follow the changes
of other machines, they are read each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from registry_core.caching.cache import Cache
from registry_core.config import get_config
from registry_core.config.keys import KEYS, Value
from registry_core.http import threads
from registry_core.settings_store.encryption import decrypt
from registry_core.settings_store.models import StoredSetting

GENERATION: Final = "settings"
_cache: Cache[Settings] = Cache("settings", share=1 / 128)


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings at one moment. An unknown name is a bug: KeyError.

    The settings in `locked` are set by the environment and cannot be changed at run time.
    """

    values: Mapping[str, Value]
    locked: frozenset[str]

    def text(self, name: str) -> str:
        """A text setting; secrets decrypted."""
        value = self.values[name]
        assert isinstance(value, str), name  # noqa: S101 the table of keys says so
        return decrypt(value) if KEYS[name].is_secret and value and name not in self.locked else value

    def number(self, name: str) -> int:
        """An integer setting, in the unit of the contract."""
        value = self.values[name]
        assert isinstance(value, int), name  # noqa: S101 the table of keys says so
        return value

    def truth(self, name: str) -> bool:
        """A boolean setting."""
        return self.values[name] is True

    def mapping(self, name: str) -> dict[str, Any]:
        """An object setting."""
        value = self.values[name]
        assert isinstance(value, dict), name  # noqa: S101 the table of keys says so
        return value

    @property
    def token_ttl_s(self) -> int:
        """Seconds for which a bearer token is valid."""
        return get_config().token_ttl_s if "token_expiration" in self.locked else self.number("token_expiration") * 60


def current() -> Settings:
    """The current settings. One small query if they are not cached."""
    return _cache.read_through(GENERATION, _read, depends_on=[GENERATION], size_bytes=8192)


async def acurrent() -> Settings:
    """The same for the event loop: the query is made in a thread."""
    settings = _cache.get(GENERATION)
    return await threads.run(current) if settings is None else settings


def given_by_environment() -> dict[str, Value]:
    """The values that the environment or the configuration file sets."""
    config = get_config()
    given: dict[str, Value] = dict(config.settings)
    if "token_ttl_s" in config.model_fields_set:
        given["token_expiration"] = max(1, config.token_ttl_s // 60)
    return given


def _read() -> Settings:
    stored = dict(StoredSetting.objects.values_list("key", "value"))
    defaults = {name: key.default_value for name, key in KEYS.items()}
    given = given_by_environment()
    valid = {name: value for name, value in stored.items() if name in KEYS}
    return Settings(values=defaults | valid | given, locked=frozenset(given))
