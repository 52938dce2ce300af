"""What was taken away is refused: by the next request on the same machine, and within a second on any other."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
import pytest

from tests.support.people import PASSWORD, Account, add_member, admin, create_project, create_user
from tests.support.registry import TIMEOUT_S, make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server
from tests.support.waiting import wait_until

ELSEWHERE_WITHIN_S = 1.0
WORKERS = 2
EXPIRES_AFTER_S = 20.0  # by then every process has answered
CLOCK_S = 0.1  # between reading the clock and remembering until when something is good
ASKED_MANY = 40  # so many fresh connections reach every one of two workers, but once in 10¹²
_TLS = ssl.create_default_context()  # unused, but each client would make one of its own, which is slow


@dataclass(frozen=True)
class Answer:
    """One answer to a request on a connection of its own; times by the machine's clock."""

    asked_at_s: float
    worker: str
    is_allowed: bool


@dataclass
class Reader:
    """Asks one server for one manifest, again and again, until told to stop."""

    server: Server
    path: str
    headers: dict[str, str]
    answers: list[Answer] = field(default_factory=list)
    is_done: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        headers = {**self.headers, "x-portolan-worker": "1"}
        while not self.is_done.is_set():
            asked_at_s = time.time()
            with httpx.Client(base_url=self.server.url, headers=headers, timeout=TIMEOUT_S, verify=_TLS) as client:
                answer = client.get(self.path)
            assert answer.status_code in {200, 401, 403, 404}, answer.text
            self.answers.append(Answer(asked_at_s, answer.headers["x-portolan-worker"], answer.status_code == 200))

    def after(self, moment_s: float) -> list[Answer]:
        return [answer for answer in self.answers if answer.asked_at_s > moment_s]


@dataclass(frozen=True)
class Right:
    """Something that lets `headers` pull from a repository, and how it is taken away: at which moment it was."""

    headers: dict[str, str]
    take_away: Callable[[], float]


def by_operation(server: Server, code: str) -> Callable[[], float]:
    """Take away by one of the application's operations, in a process of the first machine."""
    return lambda: float(
        server.manage(f"import time\nfrom registry_core.access import of_system\n{code}\nprint(time.time())")
    )


def token(server: Server, project: str, digest: str) -> Right:
    account = _member(server, project)
    code = "from rbac.models import User\nfrom rbac.services.users import revoke_sessions\n"
    code += f"revoke_sessions(user=User.objects.get(username={account.name!r}), cause=of_system('test'))"
    return Right(sign_in(server, account, f"repository:{project}/app:pull"), by_operation(server, code))


def member(server: Server, project: str, digest: str) -> Right:
    account = _member(server, project)
    code = "from rbac.models import ProjectMember\nfrom rbac.services.members import remove_member\n"
    code += f"member = ProjectMember.objects.get(project__name={project!r}, user__username={account.name!r})\n"
    code += "remove_member(member=member, cause=of_system('test'))"
    return Right(sign_in(server, account, f"repository:{project}/app:pull"), by_operation(server, code))


def robot(server: Server, project: str, digest: str) -> Right:
    secret = server.manage(
        "from rbac.models import RobotPermission\n"
        "from rbac.services.robots import RobotGrant, create_robot\n"
        "from registry_core.access import of_system\n"
        "from registry_core.content.models import Project\n"
        f"project = Project.objects.get(name={project!r})\n"
        "grants = [RobotGrant(RobotPermission.Kind.PROJECT, 'repository', 'pull', project.pk)]\n"
        "print(create_robot(name='reader', project=project, grants=grants, cause=of_system('test'))[1])"
    ).strip()
    code = "from rbac.models import Robot\nfrom rbac.services.robots import delete_robot\n"
    code += f"delete_robot(robot=Robot.objects.get(project__name={project!r}, name='reader'), cause=of_system('test'))"
    account = Account(f"robot${project}+reader", secret)
    return Right(sign_in(server, account, f"repository:{project}/app:pull"), by_operation(server, code))


def expiring_robot(server: Server, project: str, digest: str) -> Right:
    """Nobody takes anything away here, and nothing tells the workers: the clock does it."""
    secret, expires_at_s = server.manage(
        "from datetime import timedelta\nfrom django.utils import timezone\n"
        "from rbac.models import RobotPermission\n"
        "from rbac.services.robots import RobotGrant, create_robot\n"
        "from registry_core.access import of_system\n"
        "grants = [RobotGrant(RobotPermission.Kind.PROJECT, 'repository', 'pull')]\n"
        f"expires_at = timezone.now() + timedelta(seconds={EXPIRES_AFTER_S})\n"
        f"made = create_robot(name={project!r}, grants=grants, cause=of_system('test'), expires_at=expires_at)\n"
        "print(made[1], expires_at.timestamp())"
    ).split()

    def wait() -> float:
        expired_at_s = float(expires_at_s) + CLOCK_S
        time.sleep(max(0.0, expired_at_s - time.time()))
        return expired_at_s

    account = Account(f"robot${project}", secret)
    return Right(sign_in(server, account, f"repository:{project}/app:pull"), wait)


def public_project(server: Server, project: str, digest: str) -> Right:
    changed = (
        "from projects.services import set_public\nfrom registry_core.content.models import Project\n"
        f"set_public(project=Project.objects.get(name={project!r}), is_public={{is_public}}, cause=of_system('test'))"
    )
    by_operation(server, changed.format(is_public=True))()
    headers = sign_in(server, None, f"repository:{project}/app:pull")
    return Right(headers, by_operation(server, changed.format(is_public=False)))


def artifact(server: Server, project: str, digest: str) -> Right:
    headers = sign_in(server, admin(server), f"repository:{project}/app:pull,delete")

    def take_away() -> float:
        httpx.delete(f"{server.url}/v2/{project}/app/manifests/{digest}", headers=headers).raise_for_status()
        return time.time()

    return Right(headers, take_away)


@pytest.mark.parametrize("kind", [token, robot, expiring_robot, member, public_project, artifact])
def test_what_is_taken_away_is_refused_at_once_here_and_within_a_second_elsewhere(
    server: Server, other: Server, unique: str, kind: Callable[[Server, str, str], Right]
) -> None:
    create_project(server, unique)
    digest = _push(server, f"{unique}/app")
    right = kind(server, unique, digest)
    path = f"/v2/{unique}/app/manifests/latest"
    readers = [Reader(machine, path, right.headers) for machine in (server, other)]
    threads = [threading.Thread(target=reader.run) for reader in readers]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: _all_allowed(readers), what="every process has answered", within_s=120)
        taken_at_s = right.take_away()
        wait_until(lambda: _all_asked_since(readers, taken_at_s), what="every process has been asked", within_s=120)
    finally:
        for reader in readers:
            reader.is_done.set()
        for thread in threads:
            thread.join()

    here, elsewhere = readers
    late = [answer.asked_at_s - taken_at_s for answer in elsewhere.after(taken_at_s) if answer.is_allowed]
    print(f"{kind.__name__}: elsewhere allowed for {max(late, default=0) * 1000:.0f} ms")
    assert not [answer for answer in here.after(taken_at_s) if answer.is_allowed]
    assert max(late, default=0) <= ELSEWHERE_WITHIN_S
    for reader in readers:
        assert len({answer.worker for answer in reader.after(taken_at_s)}) == WORKERS


def _all_allowed(readers: list[Reader]) -> bool:
    """Whether every process of both machines has it in memory that this is allowed."""
    assert all(answer.is_allowed for reader in readers for answer in list(reader.answers))
    return all(
        len(reader.answers) >= ASKED_MANY / 2 and len({answer.worker for answer in list(reader.answers)}) == WORKERS
        for reader in readers
    )


def _all_asked_since(readers: list[Reader], moment_s: float) -> bool:
    first, second = readers
    return len(first.after(moment_s)) >= ASKED_MANY and len(second.after(moment_s + ELSEWHERE_WITHIN_S)) >= ASKED_MANY


def _member(server: Server, project: str) -> Account:
    create_user(server, f"{project}m")
    add_member(server, project, Account(f"{project}m", PASSWORD), role="GUEST")
    return Account(f"{project}m", PASSWORD)


def _push(server: Server, repository: str) -> str:
    image = make_image(layer_bytes=64)
    headers = sign_in(server, admin(server), f"repository:{repository}:pull,push")
    with httpx.Client(base_url=server.url, headers=headers, timeout=TIMEOUT_S) as client:
        for content in image.blobs:
            push_blob(client, repository, content)
        put_manifest(client, repository, "latest", image)
    return image.digest
