"""A client program in the hands of one person, and who the persons are."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.people import Account
from tests.support.tools import Outcome, run

TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Client:
    """One client program of one person: `docker("push", reference)`.

    `options` come after the arguments of every call, `login_options` into those of `login`.
    """

    program: Path
    environment: Mapping[str, str]
    login_options: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def __call__(
        self, *arguments: str, stdin: str | None = None, timeout_s: float = TIMEOUT_S, folder: Path | None = None
    ) -> Outcome:
        call = (*arguments, *self.options)
        return run(self.program, *call, env=self.environment, stdin=stdin, timeout_s=timeout_s, folder=folder)

    def must(
        self, *arguments: str, stdin: str | None = None, timeout_s: float = TIMEOUT_S, folder: Path | None = None
    ) -> Outcome:
        """As a call, where only success will do. Raises AssertionError with what the client printed."""
        outcome = self(*arguments, stdin=stdin, timeout_s=timeout_s, folder=folder)
        assert outcome.is_success, outcome.text
        return outcome

    def login(self, host: str, account: Account) -> Outcome:
        """Sign in as a script does, with the password on stdin (docker, podman, skopeo and buildah)."""
        arguments = ("--username", account.name, "--password-stdin", *self.login_options, host)
        return self("login", *arguments, stdin=account.password)


def ctr_door(ctr: Client, *, is_tls: bool) -> tuple[str, ...]:
    """The options with which ctr reaches the registry; its hosts.toml is made by the fixture."""
    return ("--hosts-dir", f"{ctr.environment['HOME']}/certs.d") if is_tls else ("--plain-http",)


@dataclass(frozen=True)
class Engine:
    """A container storage of its own for podman, buildah, skopeo and the service that docker talks to."""

    folder: Path
    environment: Mapping[str, str]

    @property
    def socket(self) -> str:
        return f"unix://{self.folder / 'podman.sock'}"


@dataclass(frozen=True)
class House:
    """Who and what the clients meet: an owner's private projects, the public one that every installation has, a guest
    of the first private one, and someone who is a member of none."""

    host: str
    owner: Account
    guest: Account
    stranger: Account
    private: str
    other: str
    public: str = "library"

    def private_reference(self, name: str) -> str:
        return f"{self.host}/{self.private}/{name}"

    def other_reference(self, name: str) -> str:
        return f"{self.host}/{self.other}/{name}"

    def public_reference(self, name: str) -> str:
        return f"{self.host}/{self.public}/{name}"


@dataclass(frozen=True)
class Credentials:
    """The file of credentials that all clients of one test share; every one of them reads docker's format."""

    path: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"DOCKER_CONFIG": str(self.path.parent), "REGISTRY_AUTH_FILE": str(self.path)}

    def use(self, host: str, account: Account | None) -> None:
        """Sign in to the registry as `account`, or out (None), without asking it."""
        secret = base64.b64encode(f"{account.name}:{account.password}".encode()).decode() if account else ""
        self.path.write_text(json.dumps({"auths": {host: {"auth": secret}} if account else {}}))
