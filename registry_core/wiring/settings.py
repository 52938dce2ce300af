"""Django's settings, derived from `registry_core.config`. Nothing that a deployment would change is configured here."""

import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from psycopg.conninfo import conninfo_to_dict

from registry_core.config import get_config
from registry_core.database.outage import RECONNECT_TIMEOUT_S
from registry_core.machine.secretfiles import read_or_create_secret

_config = get_config()


def _database(dsn: str | None) -> dict[str, Any]:
    """Django's description of the database at `dsn`; without one, a name that fails only when it is used."""
    parts: dict[str, Any] = {key: value for key, value in conninfo_to_dict(dsn or "").items() if value is not None}
    pool = {
        "min_size": 1, "max_size": _config.database_pool_max, "timeout": 5, "reconnect_timeout": RECONNECT_TIMEOUT_S,
    }  # fmt: skip
    return {
        "ENGINE": "registry_core.database",
        "NAME": parts.pop("dbname", "portolan"),
        "USER": parts.pop("user", ""),
        "PASSWORD": parts.pop("password", ""),
        "HOST": parts.pop("host", ""),
        "PORT": str(parts.pop("port", "")),
        "CONN_MAX_AGE": 0,  # the pool keeps connections, so Django must return them
        "CONN_HEALTH_CHECKS": False,  # the engine checks each connection itself
        "DISABLE_SERVER_SIDE_CURSORS": True,  # they do not survive a transaction pooler
        "OPTIONS": {**parts, "pool": pool, "prepare_threshold": _config.prepared_after},
    }


def _allowed_hosts() -> list[str]:
    """The host of the external URL, the names of the certificate and of the machine itself.

    Without an external URL clients may use any of the registry's names.
    """
    if _config.external_url is None:
        return ["*"]
    names = [str(urlsplit(_config.external_url).hostname), *_config.hostname, "localhost", "127.0.0.1", "::1"]
    return [f"[{name}]" if ":" in name else name for name in names]


DEBUG = False
SECRET_KEY = read_or_create_secret(_config.secrets_dir / "django.key", make=lambda: secrets.token_urlsafe(64))
ALLOWED_HOSTS = _allowed_hosts()
ROOT_URLCONF = "registry_core.wiring.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
APPEND_SLASH = False
LANGUAGE_CODE = "en-us"
USE_TZ = True
TIME_ZONE = "UTC"

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "registry_core",
    "registry_core.content",
    "registry_core.jobs",
    "registry_core.events",
    "registry_core.settings_store",
    "registry_core.processes",
    "rbac",
    "projects",
    "replication",
    "scanning",
    "frontend",
]

MIDDLEWARE = [
    "registry_core.database.reads.ReadLimitMiddleware",
    "registry_core.api.addresses.CleanAddressMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "registry_core.api.hosts.HostMiddleware",
    "registry_core.api.middleware.CrossSiteMiddleware",
    "registry_core.api.middleware.AccessLogUserMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {"default": _database(_config.database_dsn)}

AUTH_USER_MODEL = "rbac.User"
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]

LOGIN_URL = f"{_config.url_prefix}/sign-in"
LOGIN_REDIRECT_URL = f"{_config.url_prefix}/projects"

FORCE_SCRIPT_NAME = _config.url_prefix or None
STATIC_URL = "static/"  # relative: Django prepends the prefix of the external URL
STATICFILES_DIRS = [Path(__file__).parents[2] / "frontend" / "static"]
STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]  # only ours, not those of other apps
WHITENOISE_USE_FINDERS = True
WHITENOISE_ALLOW_ALL_ORIGINS = False
WHITENOISE_MAX_AGE = 300  # seconds; the names have no hash, so an upgrade is visible after that

SESSION_ENGINE = "django.contrib.sessions.backends.db"
SESSION_COOKIE_NAME = "sid"
SESSION_COOKIE_PATH = _config.url_prefix or "/"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = _config.is_https
CSRF_COOKIE_PATH = SESSION_COOKIE_PATH
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SECURE = _config.is_https
CSRF_FAILURE_VIEW = "frontend.views.errors.csrf_failed"
CSRF_HEADER_NAME = "HTTP_X_HARBOR_CSRF_TOKEN"
CSRF_TRUSTED_ORIGINS = [_config.origin] if _config.origin else []

# Bodies are limited before Django reads them (`registry_core.wiring.django_mount`), with errors in the endpoint's form.
DATA_UPLOAD_MAX_MEMORY_SIZE = None

SILENCED_SYSTEM_CHECKS = [
    "security.W001",  # the headers of SecurityMiddleware are set for all responses by `registry_core.http.outgoing`
    "security.W002",  # likewise X-Frame-Options
    "security.W004",  # HSTS is set by the server adapter, for the data path as well
    "security.W005",  # HSTS for sub-domains: must not affect other hosts of the domain
    "security.W021",  # HSTS preload: likewise
    "security.W008",  # redirect to TLS: done by http_port, or by the proxy that ends TLS
]
if not _config.is_https:
    SILENCED_SYSTEM_CHECKS += [
        "security.W012",  # cookies for TLS only would lock out the plain-HTTP installation on one machine
        "security.W016",
    ]

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "registry_core.api.negotiation.FirstRenderer",
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "UNAUTHENTICATED_USER": "registry_core.api.authentication.nobody",
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],  # a public view declares it
    "EXCEPTION_HANDLER": "registry_core.api.errors.exception_handler",
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Portolan",
    "VERSION": "2.0",
    "DESCRIPTION": "The registry's REST API: what Harbor's clients know under /api/v2.0.",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "DEFAULT_GENERATOR_CLASS": "registry_core.api.openapi_generator.Generator",
    "POSTPROCESSING_HOOKS": ["registry_core.api.openapi.add_components"],
    "SORT_OPERATIONS": True,
}

LOGGING_CONFIG = "registry_core.logs.configure_django"
