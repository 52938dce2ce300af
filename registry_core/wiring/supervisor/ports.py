"""TCP ports: finding a free one, and checking that one can be listened on."""

import errno
import socket

from registry_core.config import place_of
from registry_core.config.sources import ConfigError
from registry_core.wiring.supervisor.errors import PortBusy


def free_port() -> int:
    """A port of 127.0.0.1 on which no program listens now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def require_free(host: str, port: int, *, key: str = "port") -> None:
    """Return if `host`:`port` can be listened on; `key` is the setting of the port.

    Raises PortBusy if another program listens there, ConfigError if it cannot be listened on at all.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        raise ConfigError(
            f"{place_of('host')}: {host!r} is neither an address nor a name with one: set it to an address of this "
            "machine, or to 0.0.0.0 for all"
        ) from None
    family, _, _, _, address = found[0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise _refusal(error, host, port, key) from None


def _refusal(error: OSError, host: str, port: int, key: str) -> Exception:
    if error.errno == errno.EADDRINUSE:
        return PortBusy(
            f"cannot listen on {host}:{port} ({error.strerror}): stop the program that listens there, "
            f"or set {place_of(key)} to another port"
        )
    if error.errno == errno.EACCES:
        return ConfigError(
            f"{place_of(key)}: ports below 1024 are for root only, and this is port {port}: start as "
            "root with PORTOLAN_RUN_AS, use systemd's AmbientCapabilities=CAP_NET_BIND_SERVICE, or set "
            "another port"
        )
    return ConfigError(
        f"{place_of('host')}: cannot listen on {host} ({error.strerror}): set it to an address of this machine, or to "
        "0.0.0.0 for all"
    )
