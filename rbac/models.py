"""What is stored about accounts: users, groups, memberships, robots, and hashes of their secrets.

A secret that a person chose is stored as an argon2 hash, a generated one as a keyed HMAC
(`rbac.services.secret_hashes`). `credential_version` grows whenever the tokens of a subject must become invalid.
"""

from __future__ import annotations

from typing import TypeAlias

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower, Now
from django.utils.crypto import salted_hmac

from registry_core.access import Subject, SubjectKind


class Role(models.IntegerChoices):
    """The roles of project members; the numbers are part of the REST API."""

    PROJECT_ADMIN = 1, "projectAdmin"
    DEVELOPER = 2, "developer"
    GUEST = 3, "guest"
    MAINTAINER = 4, "maintainer"
    LIMITED_GUEST = 5, "limitedGuest"


class UserManager(BaseUserManager["User"]):
    """Finds users by name, ignoring case."""

    def named(self, username: str) -> models.QuerySet[User]:
        """The living user with this name, ignoring case; uses the index of `user_name_without_case`."""
        return self.alias(key=Lower("username")).filter(key=Lower(models.Value(username)), deleted_at=None)

    def get_by_natural_key(self, username: str | None) -> User:
        return self.named(username or "").get()


class User(AbstractBaseUser):
    """A person. The row of a deleted user is kept, for history, under the name `name#id`, which cannot be chosen."""

    username = models.CharField(max_length=255, unique=True)
    email = models.CharField(max_length=255, blank=True)
    realname = models.CharField(max_length=255, blank=True)
    comment = models.CharField(max_length=255, blank=True)
    is_sysadmin = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    credential_version = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = UserManager()

    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"

    class Meta:
        constraints = [
            models.UniqueConstraint(Lower("username"), name="user_name_without_case"),
            models.UniqueConstraint(
                Lower("email"), condition=Q(deleted_at=None) & ~Q(email=""), name="user_email_without_case"
            ),
        ]

    def __str__(self) -> str:
        return self.username

    @property
    def subject(self) -> Subject:
        return Subject(SubjectKind.USER, self.pk, self.username)

    def get_session_auth_hash(self) -> str:
        """The hash in a console session: it changes with the credential version, which ends the session as it does
        tokens."""
        bound_to = f"{self.credential_version}:{self.password}"
        return salted_hmac("rbac.User.get_session_auth_hash", bound_to, algorithm="sha256").hexdigest()


class GroupKind(models.IntegerChoices):
    """Where a group comes from."""

    LDAP = 1
    HTTP = 2
    OIDC = 3


class Group(models.Model):
    """Users that get roles together; its kind says where the group comes from."""

    Kind: TypeAlias = GroupKind

    name = models.CharField(max_length=255)
    kind = models.PositiveSmallIntegerField(choices=Kind.choices)
    ldap_dn = models.CharField(max_length=512, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(
                Lower("name"), "kind", condition=~Q(kind=GroupKind.LDAP), name="group_name_of_kind"
            ),
            models.UniqueConstraint(Lower("ldap_dn"), condition=Q(kind=GroupKind.LDAP), name="group_ldap_dn"),
        ]

    def __str__(self) -> str:
        return self.name


class GroupMember(models.Model):
    """A user's membership in a group, as of the last sign-in."""

    pk = models.CompositePrimaryKey("user_id", "group_id")
    user = models.ForeignKey(User, models.CASCADE, db_index=False, related_name="group_links")
    group = models.ForeignKey(Group, models.CASCADE, related_name="user_links")

    def __str__(self) -> str:
        return f"user {self.user_id} in group {self.group_id}"


class ProjectMember(models.Model):
    """The role that a user or a group has in a project."""

    project = models.ForeignKey("content.Project", models.CASCADE, db_index=False, related_name="members")
    user = models.ForeignKey(User, models.CASCADE, null=True, blank=True, related_name="memberships")
    group = models.ForeignKey(Group, models.CASCADE, null=True, blank=True, related_name="memberships")
    role = models.PositiveSmallIntegerField(choices=Role.choices)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(user=None, group__isnull=False) | Q(user__isnull=False, group=None),
                name="member_is_user_or_group",
            ),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="member_role_exists"),
            models.UniqueConstraint(fields=["project", "user"], name="member_user_once"),
            models.UniqueConstraint(fields=["project", "group"], name="member_group_once"),
        ]

    def __str__(self) -> str:
        return f"{self.get_role_display()} of project {self.project_id}"


class Robot(models.Model):
    """An account for machines, in one project or in the system. `name` excludes the prefix and the project."""

    name = models.CharField(max_length=255, db_collation="C")
    project = models.ForeignKey(
        "content.Project", models.CASCADE, null=True, blank=True, db_index=False, related_name="robots"
    )
    secret_hash = models.CharField(max_length=255)
    is_chosen_secret = models.BooleanField(default=False, help_text="chosen by a person (argon2), not generated (HMAC)")
    description = models.CharField(max_length=1024, blank=True)
    is_disabled = models.BooleanField(default=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    credential_version = models.PositiveIntegerField(default=1)
    created_by_kind = models.PositiveSmallIntegerField()
    created_by_id = models.BigIntegerField()
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "name"],
                condition=Q(deleted_at=None, project__isnull=False),
                name="robot_name_in_project",
            ),
            models.UniqueConstraint(
                fields=["name"], condition=Q(deleted_at=None, project=None), name="robot_name_in_system"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class RobotPermission(models.Model):
    """A permission of a robot (or, with `deny`, an exclusion). Kind project without a project: in all projects."""

    class Kind(models.TextChoices):
        SYSTEM = "system"
        PROJECT = "project"

    class Effect(models.TextChoices):
        ALLOW = "allow"
        DENY = "deny"

    robot = models.ForeignKey(Robot, models.CASCADE, db_index=False, related_name="permissions")
    kind = models.CharField(max_length=8, choices=Kind.choices)
    project = models.ForeignKey("content.Project", models.CASCADE, null=True, blank=True, related_name="+")
    resource = models.CharField(max_length=64)
    action = models.CharField(max_length=32)
    effect = models.CharField(max_length=5, choices=Effect.choices, default=Effect.ALLOW)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["robot", "kind", "project", "resource", "action"],
                nulls_distinct=False,
                name="robot_permission_once",
            ),
            models.CheckConstraint(
                condition=Q(kind="project") | Q(project=None), name="robot_system_permission_has_no_project"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.effect} {self.action} {self.resource}"


class RefreshToken(models.Model):
    """A long-lived login of one client: exchanged for bearer tokens until it expires or is revoked."""

    subject_kind = models.PositiveSmallIntegerField()
    subject_id = models.BigIntegerField()
    hash = models.CharField(max_length=64, unique=True, db_collation="C")
    credential_version = models.PositiveIntegerField()
    device = models.CharField(max_length=255, blank=True)
    client = models.CharField(max_length=64, blank=True, help_text="the address it was issued to")
    created_at = models.DateTimeField(db_default=Now())
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["subject_kind", "subject_id"], name="refresh_token_subject")]

    def __str__(self) -> str:
        return f"refresh token {self.pk}"


class CliSecret(models.Model):
    """A user's secret for command-line clients (CLI secret), an alternative to the password."""

    user = models.OneToOneField(User, models.CASCADE, related_name="cli_secret")
    hash = models.CharField(max_length=255)
    is_chosen_secret = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"CLI secret of user {self.user_id}"
