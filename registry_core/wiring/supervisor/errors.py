"""Reasons why `portolan up` cannot start. Each message names what to change."""


class SupervisorError(Exception):
    """Something that only the operator can fix."""


class AlreadyRunning(SupervisorError):
    """Another `portolan up` runs on the same data."""


class PortBusy(SupervisorError):
    """Another program listens on the registry's port."""


class StartFailed(SupervisorError):
    """A server did not start."""


class WrongPassword(StartFailed):
    """The embedded PostgreSQL has another password than its file says."""
