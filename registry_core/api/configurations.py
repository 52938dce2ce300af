"""`/configurations`: the run-time settings, for administrators."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from registry_core.api.base import ApiView, done
from registry_core.api.messages import Body, parse_body
from registry_core.api.openapi import operation
from registry_core.api.permissions import SIGNED_IN, SYSADMIN
from registry_core.config.keys import KEYS, Key
from registry_core.settings_store.changes import change, is_editable
from registry_core.settings_store.events import ConfigurationRead
from registry_core.settings_store.values import current

TAG: Final = "configure"
SHOWN_EMPTY: Final = ("uaa_client_secret",)
"""Secrets that clients look for among the settings; always shown as empty."""


class StringConfigItem(msgspec.Struct):
    """A setting that is text."""

    value: str
    editable: bool


class IntegerConfigItem(msgspec.Struct):
    """A setting that is a whole number."""

    value: int
    editable: bool


class BoolConfigItem(msgspec.Struct):
    """A setting that is true or false."""

    value: bool
    editable: bool


class ObjectConfigItem(msgspec.Struct):
    """A setting that is an object."""

    value: dict[str, Any]
    editable: bool


_ITEMS: Final[dict[str, Any]] = {
    "bool": (bool, BoolConfigItem),
    "int": (int, IntegerConfigItem),
    "int64": (int, IntegerConfigItem),
    "ldapscope": (int, IntegerConfigItem),
    "quota": (int, IntegerConfigItem),
    "map": (dict[str, Any], ObjectConfigItem),
}


def _item(key: Key) -> Any:
    return _ITEMS.get(key.kind, (str, StringConfigItem))


# The fields come from the table of settings: a key that is added there appears in both structs.
Configurations: Final = msgspec.defstruct(
    "Configurations",
    [(key.name, _item(key)[0] | msgspec.UnsetType, msgspec.UNSET) for key in KEYS.values()],
    bases=(Body,),
    module=__name__,
)
ConfigurationsResponse: Final = msgspec.defstruct(
    "ConfigurationsResponse",
    [(key.name, _item(key)[1] | msgspec.UnsetType, msgspec.UNSET) for key in KEYS.values()],
    module=__name__,
)


class ConfigurationsView(ApiView):
    """`/configurations`."""

    access = {"GET": SYSADMIN, "PUT": SYSADMIN}
    works_read_only = True

    def recorded_read(self) -> ConfigurationRead:
        """Reading all settings."""
        return ConfigurationRead(name="all settings")

    @operation("getConfigurations", TAG, answer=ConfigurationsResponse, errors=(401, 403))
    def get(self, _request: Request) -> Response:
        """Show every setting and whether it can be changed. Secrets are not included."""
        settings = current()
        shown = {name: settings.values[name] for name, key in KEYS.items() if not key.is_secret}
        shown |= dict.fromkeys(SHOWN_EMPTY, "")
        return Response(
            {name: {"value": value, "editable": is_editable(name, settings)} for name, value in shown.items()}
        )

    @operation("updateConfigurations", TAG, body=Configurations, errors=(400, 401, 403))
    def put(self, request: Request) -> Response:
        """Change the settings in the request, all or none of them; null means that a setting is not in the request."""
        given = parse_body(request, dict[str, Any])
        change(values={name: value for name, value in given.items() if value is not None}, cause=self.cause)
        return done()


class InternalConfigurationView(ApiView):
    """`/internalconfig`: for the internal components of a registry that consists of several. Nobody may read it
    here."""

    access = {"GET": SIGNED_IN}

    @operation("getInternalconfig", TAG, answer=dict[str, ObjectConfigItem], errors=(401, 403))
    def get(self, _request: Request) -> Response:
        """Refuse: this is not for users."""
        raise PermissionDenied("the internal configuration is not shown: use /configurations")
