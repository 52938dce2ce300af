"""Why `portolan up` cannot start. Each message names what to change."""


class SupervisorError(Exception):
    """Something that only the person who started us can repair."""


class AlreadyRunning(SupervisorError):
    """Another `portolan up` lives on the same data."""


class PortBusy(SupervisorError):
    """Another program listens where the registry should."""


class StartFailed(SupervisorError):
    """A server did not come up."""


class WrongPassword(StartFailed):
    """The embedded PostgreSQL has another password than the file of it says."""
