"""What is odd about how a process was started, though it works: said once, in its log."""

from __future__ import annotations

import os

from registry_core.config import Config
from registry_core.config.sources import variables_of_kubernetes
from registry_core.logs import get_logger

_log = get_logger("portolan")


def tell(config: Config) -> None:
    """Log it, when the process is ready for its work and no longer changes who it is."""
    if ignored := variables_of_kubernetes():
        _log.info("variables that Kubernetes sets for a Service are no settings, and ignored", variables=ignored)
    if os.geteuid() == 0 and config.run_as is None:
        _log.warning("running as root, which nothing here needs: set PORTOLAN_RUN_AS to an account without its rights")
