"""Errors of the HTTPS configuration."""

from registry_core.config import ConfigError


class CertificateRefused(ConfigError):
    """The certificate, its chain or its key cannot be served; the message says why, and what to do."""
