"""The run-time settings: name, type and default of each as in the REST contract, and its valid values.

Data and pure functions. Conditions on other rows are registered by the app that has them
(`registry_core.settings_store.changes.register_obstacle`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from registry_core.errors import InvalidInput

Value: TypeAlias = str | int | bool | dict[str, Any]
TEXT_MAX: Final = 65_536
AUTH_MODES: Final = ("db_auth", "ldap_auth", "uaa_auth", "http_auth", "oidc_auth")
CREATION_RESTRICTIONS: Final = ("everyone", "adminonly")
_NUMBER_MAX: Final = 2**63 - 1
_STORAGE_MAX_BYTES: Final = 1 << 60


@dataclass(frozen=True, slots=True)
class Key:
    """A setting. `kind` and `default` are the contract's; a secret is stored encrypted and never shown."""

    name: str
    kind: str
    default: str
    is_secret: bool

    def parsed(self, given: object) -> Value:
        """The value in the setting's type. Raises InvalidInput."""
        value = _READERS[self.kind](self.name, given)
        check = _CHECKS.get(self.name)
        if check is not None and not check.is_valid(value):
            raise InvalidInput(f"{self.name} must be {check.expected}")
        return value

    @property
    def default_value(self) -> Value:
        """The default in the setting's type."""
        if self.kind == "map":
            return {}
        return _READERS["string" if self.kind == "nonemptystring" else self.kind](self.name, self.default)


@dataclass(frozen=True, slots=True)
class _Check:
    is_valid: Callable[[Any], bool]
    expected: str


def _text(name: str, given: object) -> str:
    if not isinstance(given, str) or "\x00" in given or len(given) > TEXT_MAX:
        raise InvalidInput(f"{name} must be text of at most {TEXT_MAX} characters, without NUL")
    return given


def _some_text(name: str, given: object) -> str:
    text = _text(name, given).strip()
    if not text:
        raise InvalidInput(f"{name} may not be empty")
    return text


def _number(name: str, given: object) -> int:
    is_number = isinstance(given, int) and not isinstance(given, bool)
    is_text = isinstance(given, str) and len(given) < 20 and given.removeprefix("-").isdecimal() and given.isascii()
    number = int(str(given)) if is_number or is_text else _NUMBER_MAX + 1
    if abs(number) > _NUMBER_MAX:
        raise InvalidInput(f"{name} must be a whole number")
    return number


def _truth(name: str, given: object) -> bool:
    known = {"true": True, "false": False}
    if isinstance(given, bool):
        return given
    if isinstance(given, str) and given.lower() in known:
        return known[given.lower()]
    raise InvalidInput(f"{name} must be true or false")


def _map(name: str, given: object) -> dict[str, Any]:
    text = json.dumps(given)
    if not isinstance(given, dict) or len(text) > TEXT_MAX or "\\u0000" in text:
        raise InvalidInput(f"{name} is an object")
    return given


def _map_text(name: str, given: object) -> str:
    """JSON text of an object with text values; empty text stands for an empty object."""
    text = json.dumps(given) if isinstance(given, dict) else _text(name, given)
    try:
        pairs = json.loads(text or "{}")
    except (ValueError, RecursionError):
        pairs = None
    if not isinstance(pairs, dict) or not all(isinstance(value, str) for value in pairs.values()):
        raise InvalidInput(f'{name} must be a JSON object of text, such as {{"prompt": "login"}}')
    return text


def _choice(*choices: str) -> Callable[[str, object], str]:
    def read(name: str, given: object) -> str:
        text = _text(name, given)
        if text not in choices:
            raise InvalidInput(f"{name} must be one of {', '.join(choices)}")
        return text

    return read


_READERS: Final[Mapping[str, Callable[[str, object], Value]]] = {
    "string": _text,
    "password": _text,
    "nonemptystring": _some_text,
    "authmode": _choice(*AUTH_MODES),
    "projectcreationrestriction": _choice(*CREATION_RESTRICTIONS),
    "bool": _truth,
    "int": _number,
    "int64": _number,
    "ldapscope": _number,
    "quota": _number,
    "map": _map,
    "stringtostringmap": _map_text,
}


def _between(low: int, high: int, what: str) -> _Check:
    return _Check(lambda value: low <= value <= high, f"{what} from {low} to {high}")


def _or_none(high: int, what: str) -> _Check:
    return _Check(lambda value: value == -1 or 1 <= value <= high, f"{what} from 1 to {high}, or -1 for no limit")


def _is_prefix(text: str) -> bool:
    return len(text) <= 64 and text.isprintable() and not set(text) & set(' ,"~#%/\\:+')


_CHECKS: Final[Mapping[str, _Check]] = {
    "ldap_scope": _between(0, 2, "a scope"),
    "ldap_group_search_scope": _between(0, 2, "a scope"),
    "ldap_timeout": _between(1, 600, "a number of seconds"),
    "token_expiration": _between(1, 43_200, "a number of minutes"),
    "session_timeout": _between(1, 525_600, "a number of minutes"),
    "robot_token_duration": _or_none(36_500, "a number of days"),
    "storage_per_project": _or_none(_STORAGE_MAX_BYTES, "a number of bytes"),
    "robot_name_prefix": _Check(_is_prefix, 'at most 64 characters, none of them blank or one of , " ~ # % / \\ : +'),
}

_TABLE: Final = """
auth_mode authmode db_auth
primary_auth_mode bool false
ldap_base_dn nonemptystring
ldap_filter string
ldap_group_base_dn string
ldap_group_admin_dn string
ldap_group_attribute_name string
ldap_group_search_filter string
ldap_group_search_scope ldapscope 2
ldap_scope ldapscope 2
ldap_search_dn string
ldap_search_password password
ldap_timeout int 5
ldap_uid nonemptystring cn
ldap_url nonemptystring
ldap_verify_cert bool true
ldap_group_membership_attribute string memberof
ldap_group_attach_parallel bool false
scan_all_policy map
project_creation_restriction projectcreationrestriction everyone
read_only bool false
self_registration bool false
token_expiration int 30
uaa_client_id string
uaa_client_secret string
uaa_endpoint string
uaa_verify_cert bool false
http_authproxy_endpoint string
http_authproxy_tokenreview_endpoint string
http_authproxy_admin_groups string
http_authproxy_admin_usernames string
http_authproxy_verify_cert bool true
http_authproxy_skip_search bool false
http_authproxy_server_certificate string
oidc_name string
oidc_endpoint string
oidc_client_id string
oidc_client_secret password
oidc_groups_claim string
oidc_admin_group string
oidc_group_filter string
oidc_scope string
oidc_user_claim string
oidc_verify_cert bool true
oidc_auto_onboard bool false
oidc_extra_redirect_parms stringtostringmap {}
oidc_logout bool false
robot_token_duration int 30
robot_name_prefix nonemptystring robot$
notification_enable bool true
quota_per_project_enable bool true
storage_per_project quota -1
pull_time_update_disable bool false
pull_count_update_disable bool false
pull_audit_log_disable bool false
audit_log_forward_endpoint string
skip_audit_log_database bool false
scanner_skip_update_pulltime bool false
disabled_audit_log_event_types string
session_timeout int64 60
banner_message string
"""


def _key(line: str) -> Key:
    name, kind, default = (*line.split(), "")[:3]
    return Key(name, kind, default, is_secret=kind == "password" or name.endswith("_secret"))


KEYS: Final[Mapping[str, Key]] = {key.name: key for key in map(_key, _TABLE.split("\n")[1:-1])}


def key_named(name: str) -> Key:
    """The setting with a name. Raises InvalidInput."""
    key = KEYS.get(name)
    if key is None:
        raise InvalidInput(f"there is no setting {name[:64]!r}")
    return key


def parsed(values: Mapping[str, object]) -> dict[str, Value]:
    """Values by name, each in its setting's type. Raises InvalidInput for an unknown name or an invalid value."""
    return {name: key_named(name).parsed(value) for name, value in values.items()}
