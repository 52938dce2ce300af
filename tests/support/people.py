"""Users, projects and members of a running server, made by the application's own operations."""

from dataclasses import dataclass

from tests.support.server import Server

PASSWORD = "Portolan-1"


@dataclass(frozen=True)
class Account:
    """Who signs in, and with what."""

    name: str
    password: str


def admin(server: Server) -> Account:
    return Account("admin", server.admin_password)


def create_user(server: Server, name: str, *, is_sysadmin: bool = False) -> Account:
    """Create a user who is a member of nothing."""
    server.manage(
        "from rbac.services.users import create_user\n"
        f"create_user(username={name!r}, password={PASSWORD!r}, email={name + '@example.org'!r},"
        f" is_sysadmin={is_sysadmin!r})"
    )
    return Account(name, PASSWORD)


def create_project(
    server: Server, name: str, *, is_public: bool = False, allows_sparse_manifests: bool = False, by: str = "admin"
) -> None:
    """Create a project; the user named `by` becomes its administrator."""
    server.manage(
        "from projects.services import create_project\n"
        "from rbac.models import User\n"
        "from registry_core.access import Subject, SubjectKind\n"
        f"creator = Subject(SubjectKind.USER, User.objects.get(username={by!r}).pk, {by!r})\n"
        f"project = create_project(name={name!r}, is_public={is_public!r}, by=creator)\n"
        f"project.allows_sparse_manifests = {allows_sparse_manifests!r}\n"
        "project.save(update_fields=['allows_sparse_manifests'])"
    )


def add_member(server: Server, project: str, account: Account, *, role: str) -> None:
    """Give a user the role named `role` (of rbac.models.Role) in a project."""
    server.manage(
        "from rbac.models import Role, User\n"
        "from rbac.services.members import add_member\n"
        "from registry_core.access import SYSTEM\n"
        "from registry_core.content.models import Project\n"
        f"add_member(project=Project.objects.get(name={project!r}), role=Role[{role!r}], by=SYSTEM,"
        f" user=User.objects.get(username={account.name!r}))"
    )
