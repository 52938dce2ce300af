"""Unusual but working conditions at the start of a process: logged once."""

from __future__ import annotations

import os

from registry_core.config import Config
from registry_core.config.sources import variables_of_kubernetes
from registry_core.logs import get_logger

_log = get_logger("portolan")


def log_oddities(config: Config) -> None:
    """Log them, once the process is ready and has its final account."""
    if ignored := variables_of_kubernetes():
        _log.info("variables that Kubernetes sets for a Service are not settings, and are ignored", variables=ignored)
    if os.geteuid() == 0 and config.run_as is None:
        _log.warning("running as root, which is not needed: set PORTOLAN_RUN_AS to an unprivileged account")
