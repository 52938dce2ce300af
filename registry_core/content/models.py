"""The models of stored content. `docs/data-model.md` gives the reason for each table, column and index.

Digests are bytes (`registry_core.digests`). Names sort by bytes. What can be deleted and restored has `deleted_at` and
the `Deletion` that it belongs to; names are unique among living rows.
"""

from __future__ import annotations

from typing import TypeAlias

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Q, Value
from django.db.models.functions import Now

UNLIMITED = -1


class Project(models.Model):
    """A namespace with members and policies. Its permissions are in rbac, its settings in projects."""

    name = models.CharField(max_length=255, db_collation="C")
    is_public = models.BooleanField(default=False)
    allows_sparse_manifests = models.BooleanField(default=False)
    storage_limit_bytes = models.BigIntegerField(default=UNLIMITED)
    policies = ArrayField(
        models.TextField(), default=list, db_default=Value([]), help_text="the names of those that apply"
    )
    created_at = models.DateTimeField(db_default=Now())
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["name"], condition=Q(deleted_at=None), name="project_name_living"),
        ]

    def __str__(self) -> str:
        return self.name


class Repository(models.Model):
    """A named collection of artifacts in a project; created by the first push to it."""

    project = models.ForeignKey(Project, models.PROTECT, related_name="repositories")
    name = models.CharField(max_length=255, db_collation="C", help_text="without the project")
    description = models.TextField(blank=True, db_default="")
    pull_count = models.BigIntegerField(db_default=0)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    changed_at = models.DateTimeField(db_default=Now(), help_text="the last push or description, a little behind")
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "name"], condition=Q(deleted_at=None), name="repository_name_living"
            ),
        ]
        indexes = [
            models.Index(fields=["-changed_at", "-id"], condition=Q(deleted_at=None), name="repository_last_changed")
        ]

    def __str__(self) -> str:
        return f"{self.project.name}/{self.name}"


class Blob(models.Model):
    """Bytes in the object store: which digest lies under which opaque key."""

    class State(models.IntegerChoices):
        LIVE = 1
        QUARANTINED = 2
        DELETING = 3

    digest = models.BinaryField(max_length=65, unique=True)
    size_bytes = models.BigIntegerField()
    store = models.CharField(max_length=32)
    storage_key = models.CharField(max_length=255)
    state = models.PositiveSmallIntegerField(choices=State.choices, default=State.LIVE)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["store", "storage_key"], name="blob_storage_key")]

    def __str__(self) -> str:
        return f"blob {self.pk}"


class RepositoryBlob(models.Model):
    """The right to read a blob in a repository. `grace_until` protects a link that no manifest uses yet."""

    pk = models.CompositePrimaryKey("repository_id", "blob_id")
    repository = models.ForeignKey(Repository, models.CASCADE, db_index=False, related_name="+")
    blob = models.ForeignKey(Blob, models.PROTECT, related_name="repository_links")
    grace_until = models.DateTimeField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [BrinIndex(fields=["created_at"], autosummarize=True, name="repositoryblob_created")]

    def __str__(self) -> str:
        return f"link of blob {self.blob_id} to repository {self.repository_id}"


class ProjectBlob(models.Model):
    """A blob that a project is charged for once, however many of its repositories link it (`links`)."""

    pk = models.CompositePrimaryKey("project_id", "blob_id")
    project = models.ForeignKey(Project, models.CASCADE, db_index=False, related_name="+")
    blob = models.ForeignKey(Blob, models.PROTECT, related_name="+")
    links = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"blob {self.blob_id} of project {self.project_id}"


class Manifest(models.Model):
    """The bytes of a manifest, once per digest, with what lists show of it.

    `kind`, `config_type`, `extra_attrs` and `icon` describe it (`registry_core.content.descriptions`); while `kind` is
    empty it has no description yet.
    """

    digest = models.BinaryField(max_length=65, unique=True)
    content = models.BinaryField()
    annotations = models.BinaryField(null=True, help_text="JSON as bytes: jsonb cannot hold every string that JSON can")
    kind = models.CharField(max_length=255, blank=True, db_default="")
    config_type = models.CharField(max_length=255, blank=True, db_default="")
    extra_attrs = models.BinaryField(null=True, help_text="JSON as bytes, as the annotations")
    icon = models.BinaryField(max_length=65, null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [
            models.Index(fields=["id"], condition=Q(kind=""), name="manifest_undescribed"),
            models.Index(fields=["icon"], condition=Q(icon__isnull=False), name="manifest_icon"),
        ]

    def __str__(self) -> str:
        return f"manifest {self.pk}"


class ProjectManifest(models.Model):
    """A manifest that a project is charged for once, however many of its living artifacts have it (`artifacts`)."""

    pk = models.CompositePrimaryKey("project_id", "manifest_id")
    project = models.ForeignKey(Project, models.CASCADE, db_index=False, related_name="+")
    manifest = models.ForeignKey(Manifest, models.PROTECT, related_name="+")
    artifacts = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"manifest {self.manifest_id} of project {self.project_id}"


class DescriptorRole(models.IntegerChoices):
    """What a descriptor of a manifest refers to."""

    CONFIG = 1
    LAYER = 2
    MANIFEST = 3
    BLOB = 4


class ManifestDescriptor(models.Model):
    """What a manifest refers to, in its order. Derived from the bytes alone."""

    Role: TypeAlias = DescriptorRole

    pk = models.CompositePrimaryKey("manifest_id", "ordinal")
    manifest = models.ForeignKey(Manifest, models.CASCADE, db_index=False, related_name="descriptors")
    ordinal = models.PositiveIntegerField()
    role = models.PositiveSmallIntegerField(choices=Role.choices)
    digest = models.BinaryField(max_length=65)
    media_type = models.CharField(max_length=255)
    size_bytes = models.BigIntegerField()
    platform = models.JSONField(null=True, blank=True)
    is_foreign = models.BooleanField(default=False)

    class Meta:
        indexes = [models.Index(fields=["digest"], condition=Q(role=DescriptorRole.MANIFEST), name="descriptor_child")]

    def __str__(self) -> str:
        return f"descriptor {self.ordinal} of manifest {self.manifest_id}"


class Deletion(models.Model):
    """Groups what one delete removed, so that restoring brings back exactly that.

    `repository` is null when a project was deleted. `kind` and `name` are what the client named: a tag, a digest, a
    repository, a project. `is_purging`: its rows are being removed, so that it cannot be restored any more.
    """

    class Kind(models.IntegerChoices):
        UNKNOWN = 0, "unknown"  # written by a release before 0012
        TAG = 1, "tag"
        ARTIFACT = 2, "artifact"
        REPOSITORY = 3, "repository"
        PROJECT = 4, "project"

    repository = models.ForeignKey(Repository, models.CASCADE, null=True, related_name="+")
    project = models.ForeignKey(Project, models.CASCADE, null=True, related_name="+")
    kind = models.PositiveSmallIntegerField(choices=Kind.choices, default=Kind.UNKNOWN, db_default=0)
    name = models.CharField(max_length=512, blank=True, db_default="")
    subject_kind = models.PositiveSmallIntegerField()
    subject_id = models.BigIntegerField()
    subject_name = models.CharField(max_length=255, blank=True, db_default="")
    reason = models.CharField(max_length=32)
    is_purging = models.BooleanField(default=False, db_default=False)
    deleted_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["expires_at"], name="deletion_expiry")]

    def __str__(self) -> str:
        return f"deletion {self.pk}"


class Garbage(models.Model):
    """A candidate for garbage collection: something that lost its last reference, or may have. It is looked at again
    under its lock from `due_at` on. `repository_id` is that of a link, and 0 for everything else."""

    class Kind(models.IntegerChoices):
        LINK = 1
        BLOB = 2
        MANIFEST = 3
        REPOSITORY = 4
        PROJECT = 5

    kind = models.PositiveSmallIntegerField(choices=Kind.choices)
    repository_id = models.BigIntegerField(db_default=0)
    target_id = models.BigIntegerField()
    due_at = models.DateTimeField()
    queued_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "repository_id", "target_id"], name="garbage_once")]
        indexes = [models.Index(fields=["kind", "id"], name="garbage_by_kind")]

    def __str__(self) -> str:
        return f"garbage {self.pk}"


class DoomedObject(models.Model):
    """An object that is being deleted from its store. The row stays until the store has confirmed that the object is
    gone; `failure` is why the last attempt did not succeed."""

    blob_id = models.BigIntegerField()
    store = models.CharField(max_length=32)
    storage_key = models.CharField(max_length=255)
    size_bytes = models.BigIntegerField()
    attempts = models.IntegerField(db_default=0)
    failure = models.TextField(blank=True, db_default="")
    doomed_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["store", "storage_key"], name="doomedobject_storage_key")]

    def __str__(self) -> str:
        return f"doomed object {self.storage_key}"


class StoreMeasure(models.Model):
    """What the last comparison of a store with this database found, in bytes and numbers of objects."""

    store = models.CharField(max_length=32, primary_key=True)
    object_count = models.BigIntegerField()
    object_bytes = models.BigIntegerField()
    unfinished_bytes = models.BigIntegerField(help_text="of these objects, those of uploads in progress")
    unnamed_objects = models.BigIntegerField()
    unnamed_bytes = models.BigIntegerField()
    missing_objects = models.BigIntegerField()
    missing_bytes = models.BigIntegerField()
    measured_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"measure of {self.store}"


class Artifact(models.Model):
    """A manifest in a repository. The media type is stored here: the same bytes may be pushed under another.

    An accessory refers to another artifact (`accessory_of`) and is not listed by itself.
    """

    class Accessory(models.IntegerChoices):
        COSIGN = 1, "signature.cosign"
        NOTATION = 2, "signature.notation"
        SBOM = 3, "sbom.harbor"
        NYDUS = 4, "accelerator.nydus"
        OTHER = 5, "subject.accessory"

    repository = models.ForeignKey(Repository, models.PROTECT, db_index=False, related_name="artifacts")
    manifest = models.ForeignKey(Manifest, models.PROTECT, related_name="artifacts")
    digest = models.BinaryField(max_length=65)
    media_type = models.CharField(max_length=255)
    artifact_type = models.CharField(max_length=255, blank=True)
    subject_digest = models.BinaryField(max_length=65, null=True, blank=True)
    accessory_of = models.BinaryField(max_length=65, null=True, blank=True)
    accessory_kind = models.PositiveSmallIntegerField(choices=Accessory.choices, null=True, blank=True)
    size_bytes = models.BigIntegerField()
    pushed_at = models.DateTimeField(db_default=Now())
    pulled_at = models.DateTimeField(null=True, blank=True)
    pull_count = models.BigIntegerField(default=0)
    deleted_at = models.DateTimeField(null=True, blank=True)
    deletion = models.ForeignKey(Deletion, models.SET_NULL, null=True, blank=True, related_name="artifacts")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["repository", "digest"], condition=Q(deleted_at=None), name="artifact_digest_living"
            ),
        ]
        indexes = [
            models.Index(
                fields=["repository", "subject_digest", "digest"],
                condition=Q(deleted_at=None, subject_digest__isnull=False),
                name="artifact_referrers",
            ),
            models.Index(fields=["repository", "-id"], condition=Q(deleted_at=None), name="artifact_newest"),
            models.Index(
                fields=["repository", "accessory_of"],
                condition=Q(deleted_at=None, accessory_of__isnull=False),
                name="artifact_accessories",
            ),
        ]

    def __str__(self) -> str:
        return f"artifact {self.pk}"


class ArtifactBlob(models.Model):
    """The blobs that an artifact uses: "is this blob still used here?" is one probe of the key."""

    pk = models.CompositePrimaryKey("repository_id", "blob_id", "artifact_id")
    repository = models.ForeignKey(Repository, models.CASCADE, db_index=False, related_name="+")
    blob = models.ForeignKey(Blob, models.PROTECT, related_name="+")
    artifact = models.ForeignKey(Artifact, models.CASCADE, related_name="blob_uses")
    is_trashed = models.BooleanField(default=False)

    def __str__(self) -> str:
        return f"blob {self.blob_id} of artifact {self.artifact_id}"


class Tag(models.Model):
    """A name that points at an artifact of its repository."""

    repository = models.ForeignKey(Repository, models.PROTECT, db_index=False, related_name="tags")
    artifact = models.ForeignKey(Artifact, models.PROTECT, related_name="tags")
    name = models.CharField(max_length=128, db_collation="C")
    pushed_at = models.DateTimeField(db_default=Now())
    pulled_at = models.DateTimeField(null=True, blank=True)
    deleted_at = models.DateTimeField(null=True, blank=True)
    deletion = models.ForeignKey(Deletion, models.SET_NULL, null=True, blank=True, related_name="tags")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["repository", "name"], condition=Q(deleted_at=None), name="tag_name_living"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class TagHistory(models.Model):
    """Every move of a tag: by whom, when, from which digest to which. Append only; partitioned by month."""

    id = models.BigAutoField(primary_key=True)
    repository_id = models.BigIntegerField()
    tag = models.CharField(max_length=128, db_collation="C")
    old_digest = models.BinaryField(max_length=65, null=True)
    new_digest = models.BinaryField(max_length=65, null=True)
    subject_kind = models.PositiveSmallIntegerField()
    subject_id = models.BigIntegerField()
    reason = models.CharField(max_length=32)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        managed = False
        db_table = "content_taghistory"

    def __str__(self) -> str:
        return f"{self.tag} at {self.at}"


class Upload(models.Model):
    """An upload in progress: its owner, the location of its bytes, and the recorded position."""

    token = models.CharField(max_length=64, unique=True, db_collation="C", help_text="its unguessable public id")
    repository = models.ForeignKey(Repository, models.CASCADE, related_name="+")
    subject_kind = models.PositiveSmallIntegerField()
    subject_id = models.BigIntegerField()
    store = models.CharField(max_length=32)
    storage_key = models.CharField(max_length=255)
    algorithm = models.CharField(max_length=16, default="sha256")
    offset_bytes = models.BigIntegerField(default=0)
    hash_state = models.BinaryField(null=True)
    parts = models.JSONField(default=list)
    reserved_bytes = models.BigIntegerField(default=0)
    version = models.BigIntegerField(default=0, help_text="fencing: grows with each writer")
    writer = models.CharField(max_length=64, blank=True, help_text="the process that writes it now")
    writer_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["updated_at"], name="upload_age")]

    def __str__(self) -> str:
        return f"upload {self.pk}"


class Installation(models.Model):
    """The installation that this database belongs to: one row, created with the first store's mark, which has the same
    name."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    name = models.CharField(max_length=32, help_text="random; nobody chooses it")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="installation_one_row")]

    def __str__(self) -> str:
        return self.name


class StoreMark(models.Model):
    """The last mark that this database and a store were given together, and why sweeping of the store is stopped, if it
    is."""

    store = models.CharField(max_length=32, primary_key=True)
    count = models.BigIntegerField(db_default=0)
    token = models.CharField(max_length=32, blank=True, db_default="", help_text="random, of this mark alone")
    previous = models.CharField(max_length=32, blank=True, db_default="", help_text="the token of the mark before")
    newest_blob = models.BigIntegerField(db_default=0, help_text="the largest id of a blob when it was given")
    marked_at = models.DateTimeField(db_default=Now())
    stopped = models.TextField(blank=True, db_default="", help_text="why the last sweep was refused")

    def __str__(self) -> str:
        return f"mark {self.count} of {self.store}"


class QuotaStripe(models.Model):
    """A part of a project's storage counter: the bytes charged to it, and its allowance before the project must be
    asked."""

    pk = models.CompositePrimaryKey("project_id", "stripe")
    project = models.ForeignKey(Project, models.CASCADE, db_index=False, related_name="+")
    stripe = models.PositiveSmallIntegerField()
    used_bytes = models.BigIntegerField(default=0)
    allowance_bytes = models.BigIntegerField()

    def __str__(self) -> str:
        return f"stripe {self.stripe} of project {self.project_id}"


class QuotaLease(models.Model):
    """What a project was charged in advance for its short uploads, which are staged without a row."""

    project = models.OneToOneField(Project, models.CASCADE, primary_key=True, related_name="+")
    leased_bytes = models.BigIntegerField()

    def __str__(self) -> str:
        return f"lease of project {self.project_id}"


class QuotaEntry(models.Model):
    """The storage ledger: each change of what a project is charged, with its reason. Append only; partitioned by
    month."""

    id = models.BigAutoField(primary_key=True)
    project_id = models.BigIntegerField()
    blob_id = models.BigIntegerField(null=True)
    manifest_id = models.BigIntegerField(null=True)
    delta_bytes = models.BigIntegerField()
    reason = models.CharField(max_length=32)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        managed = False
        db_table = "content_quotaentry"

    def __str__(self) -> str:
        return f"{self.delta_bytes:+d} {self.reason}"
