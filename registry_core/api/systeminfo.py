"""`/systeminfo`: what clients need before they sign in, more for those that did; volumes; the CA's certificate."""

from __future__ import annotations

import importlib.metadata
import shutil
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from registry_core.api.base import ApiView
from registry_core.api.messages import Answer, Time, api_time
from registry_core.api.openapi import operation
from registry_core.api.permissions import ANYONE, in_system
from registry_core.config import Config, get_config
from registry_core.errors import NotFound
from registry_core.settings_store.values import Settings, current
from registry_core.tls.authority import authority_path

TAG: Final = "systeminfo"
CONTRACT_VERSION: Final = "v2.14.0"


class AuthproxySetting(Answer):
    """Settings of the authentication proxy."""

    endpoint: str
    tokenreivew_endpoint: str
    skip_search: bool
    verify_cert: bool
    server_certificate: str


class GeneralInfo(Answer, kw_only=True):
    """General information about this registry, and how to sign in."""

    auth_mode: str
    banner_message: str
    oidc_provider_name: str
    primary_auth_mode: bool | None = None
    self_registration: bool | None = None
    authproxy_settings: AuthproxySetting | None = None
    current_time: Time = ""
    registry_url: str = ""
    external_url: str = ""
    project_creation_restriction: str = ""
    has_ca_root: bool | None = None
    harbor_version: str = ""
    registry_storage_provider_name: str = ""
    read_only: bool | None = None
    notification_enable: bool | None = None


class Storage(Answer):
    """A volume; sizes in bytes."""

    total: int
    free: int


class SystemInfo(Answer, omit_defaults=False):
    """The volumes that store blobs; none for an object store."""

    storage: list[Storage]


class SystemInfoView(ApiView):
    """`/systeminfo`."""

    access = {"GET": ANYONE}

    @operation("getSystemInfo", TAG, answer=GeneralInfo, errors=())
    def get(self, request: Request) -> Response:
        """Get general information; more with authentication."""
        info = _for_everybody(current())
        if not self.subject.is_anonymous:
            _add_for_known(info, current(), get_config(), f"{request.scheme}://{request.get_host()}")
        return Response(info)


class VolumesView(ApiView):
    """`/systeminfo/volumes`."""

    access = {"GET": in_system("system-volumes", "read")}

    @operation("getVolumes", TAG, answer=SystemInfo, errors=(401, 403))
    def get(self, _request: Request) -> Response:
        """Get the size and the free space of the blobs' volume."""
        config = get_config()
        if config.storage != "filesystem":
            return Response(SystemInfo(storage=[]))
        usage = shutil.disk_usage(config.data)
        return Response(SystemInfo(storage=[Storage(total=usage.total, free=usage.free)]))


class CertificateView(ApiView):
    """`/systeminfo/getcert`."""

    access = {"GET": ANYONE}

    @operation("getCert", TAG, answer=bytes, media_type="application/x-x509-ca-cert", errors=(404,))
    def get(self, _request: Request) -> HttpResponse:
        """Get the certificate of the registry's own CA, for clients to trust."""
        config = get_config()
        if not _has_own_authority(config):
            raise NotFound("this registry has no CA of its own")
        headers = {"Content-Disposition": 'attachment; filename="ca.crt"'}
        content = authority_path(config).read_bytes()
        return HttpResponse(content, content_type="application/x-x509-ca-cert", headers=headers)


def _for_everybody(settings: Settings) -> GeneralInfo:
    auth_mode = settings.text("auth_mode")
    return GeneralInfo(
        auth_mode=auth_mode,
        primary_auth_mode=settings.truth("primary_auth_mode"),
        self_registration=settings.truth("self_registration"),
        banner_message=settings.text("banner_message"),
        oidc_provider_name=settings.text("oidc_name") if auth_mode == "oidc_auth" else "",
    )


def _add_for_known(info: GeneralInfo, settings: Settings, config: Config, address: str) -> None:
    info.current_time = api_time(datetime.now(UTC))
    info.external_url = config.external_url or address
    info.registry_url = urlsplit(info.external_url).netloc
    info.project_creation_restriction = settings.text("project_creation_restriction")
    info.has_ca_root = _has_own_authority(config)
    info.harbor_version = f"{CONTRACT_VERSION}-portolan.{importlib.metadata.version('portolan')}"
    info.registry_storage_provider_name = config.storage
    info.read_only = settings.truth("read_only")
    info.notification_enable = settings.truth("notification_enable")
    if info.auth_mode == "http_auth":
        info.authproxy_settings = _authproxy(settings)


def _authproxy(settings: Settings) -> AuthproxySetting:
    return AuthproxySetting(
        endpoint=settings.text("http_authproxy_endpoint"),
        tokenreivew_endpoint=settings.text("http_authproxy_tokenreview_endpoint"),
        skip_search=settings.truth("http_authproxy_skip_search"),
        verify_cert=settings.truth("http_authproxy_verify_cert"),
        server_certificate=settings.text("http_authproxy_server_certificate"),
    )


def _has_own_authority(config: Config) -> bool:
    return config.serves_tls and config.tls_cert is None and authority_path(config).is_file()
