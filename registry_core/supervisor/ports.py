"""TCP ports: a free one, and whether one is free."""

import socket

from registry_core.supervisor.errors import PortBusy


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def require_free(host: str, port: int) -> None:
    """Raise PortBusy when `host`:`port` cannot be listened on, because of another program or of its number."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise PortBusy(
                f"cannot listen on {host}:{port} ({error.strerror}): end the program that does, "
                "or set PORTOLAN_PORT to another port"
            ) from None
