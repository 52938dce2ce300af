"""Garbage collection on each kind of store: what goes, what stays, and what the stores have afterwards."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from registry_core.access import of_system
from registry_core.config import get_config
from registry_core.content import installation, quota_audit
from registry_core.content.blobs import BlobRef, store_blob
from registry_core.content.check import check_storage
from registry_core.content.collecting import Collected, Parameters, collect_garbage
from registry_core.content.manifests import delete_manifest, put_manifest
from registry_core.content.models import (
    Artifact,
    Blob,
    Deletion,
    DoomedObject,
    Garbage,
    Installation,
    Manifest,
    Project,
    Repository,
    RepositoryBlob,
    StoreMark,
    Tag,
)
from registry_core.content.mounts import Wanted, mount_blob
from registry_core.content.objects import note
from registry_core.content.parsing import OCI_INDEX, OCI_MANIFEST, parse_manifest
from registry_core.content.policy_contexts import DeletePlan, Moment
from registry_core.content.reporters import Lines
from registry_core.content.repositories import RepositoryRef, changing, project_ref
from registry_core.content.repository_changes import delete_repository
from registry_core.content.tags import delete_tag
from registry_core.digests import Digest
from registry_core.names import RepositoryName
from registry_core.storage import stores
from registry_core.storage.interface import ObjectStore, Removal
from registry_core.storage.s3 import S3Store
from tests.policies.recorder import Recorder, registered
from tests.storage.test_driver import stored
from tests.storage.test_sweeping import Configure, configure  # noqa: F401 a fixture
from tests.support.faults import LIE, RESET_AFTER, SERVER_ERROR, SLOW_DOWN, FaultyStore
from tests.support.minio import Minio
from tests.support.operations import BY_SYSTEM, make_repository

pytestmark = pytest.mark.django_db
CONFIG = b"{}"
AGES = "UPDATE {table} SET {column} = {column} - interval '30 days'"


class Registry:
    """A store and its database, filled by the application's operations."""

    def __init__(self, store: ObjectStore) -> None:
        from projects.services import create_project

        self.store = store
        self.lines: list[str] = []
        self.project: Project = create_project(name="fleet", is_public=False, cause=BY_SYSTEM)

    def repository(self, name: str = "app") -> RepositoryRef:
        return make_repository(project_ref(self.project), RepositoryName(self.project.name, name))

    def push_blob(self, content: bytes, on: str = "app") -> Digest:
        key, digest = stored(self.store, content), Digest.of(content)
        blob = BlobRef(0, digest, len(content), self.store.name, key)
        with changing():
            known = store_blob(repository=self.repository(on), blob=blob)
        if known.storage_key != key:
            self.store.delete(key)
        else:
            note(self.store, digest, key=key, size_bytes=len(content))
        return digest

    def push(self, *tags: str, layer: bytes = b"", on: str = "app", **fields: Any) -> Digest:
        """An image with one layer."""
        layer = layer or secrets.token_bytes(100)
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": self._descriptor(CONFIG, "application/vnd.oci.image.config.v1+json", on),
            "layers": [self._descriptor(layer, "application/vnd.oci.image.layer.v1.tar", on)],
        } | fields
        return self.put(document, *tags, on=on)

    def push_index(self, *children: Digest, tag: str = "multi", on: str = "app") -> Digest:
        entries = [{"mediaType": OCI_MANIFEST, "digest": str(child), "size": 2} for child in children]
        return self.put({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}, tag, on=on)

    def put(self, document: dict[str, Any], *tags: str, on: str = "app") -> Digest:
        manifest = parse_manifest(json.dumps(document).encode(), content_type=document["mediaType"])
        put_manifest(repository=self.repository(on), manifest=manifest, tags=tags, cause=BY_SYSTEM)
        return manifest.digest

    def _descriptor(self, content: bytes, media_type: str, on: str) -> dict[str, Any]:
        return {"mediaType": media_type, "digest": str(self.push_blob(content, on)), "size": len(content)}

    def delete(self, digest: Digest, on: str = "app") -> None:
        delete_manifest(repository=self.repository(on), digest=digest, cause=BY_SYSTEM)

    def collect(self, **parameters: Any) -> Collected:
        self.lines = []
        collected = collect_garbage(Parameters(**parameters), Lines(self.lines.append), cause=of_system("gc"))
        assert quota_audit.audit(self.project.pk).is_exact
        return collected

    def stored_bytes(self) -> int:
        return sum(found.size_bytes for found in self.store.objects())

    def recorded_bytes(self) -> int:
        return sum(Blob.objects.values_list("size_bytes", flat=True))

    def has(self, content: bytes) -> bool:
        blob = Blob.objects.filter(digest=Digest.of(content).raw).first()
        return blob is not None and self.store.size_bytes(blob.storage_key) == len(content)


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def expire_deletions() -> None:
    """A month passes for what was deleted."""
    for column in ("deleted_at", "expires_at"):
        execute(AGES.format(table="content_deletion", column=column))
    execute("UPDATE content_garbage SET due_at = due_at - interval '30 days'")


def expire_links() -> None:
    """A month passes for the links of blobs, and is not noticed by a run."""
    for column in ("created_at", "grace_until"):
        execute(AGES.format(table="content_repositoryblob", column=column))
    execute("UPDATE events_cursor SET seq = 0 WHERE name LIKE 'garbage:%'")


@pytest.fixture(params=["filesystem", "s3"])
def registry(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    configure: Configure,  # noqa: F811 the fixture
    monkeypatch: pytest.MonkeyPatch,
) -> Registry:
    """A new installation on each kind of store."""
    monkeypatch.setattr(S3Store, "journal_delay_s", 0.0)  # no other process writes to its journal
    configure(data=tmp_path)
    if request.param == "s3":
        minio: Minio = request.getfixturevalue("minio")
        configure(**minio.settings())
    Installation.objects.all().delete()
    StoreMark.objects.all().delete()
    installation.begin()
    return Registry(stores.default_store())


@pytest.fixture
def on_folder(tmp_path: Path, configure: Configure) -> Registry:  # noqa: F811 the fixture
    """A new installation on a folder."""
    configure(data=tmp_path)
    installation.begin()
    return Registry(stores.default_store())


def test_what_was_deleted_goes_when_it_expires_and_nothing_else_does(registry: Registry) -> None:
    kept, gone = secrets.token_bytes(1000), secrets.token_bytes(2000)
    registry.push("kept", layer=kept)
    registry.delete(registry.push("gone", layer=gone))

    assert registry.collect().freed_bytes == 0
    assert registry.has(gone)  # it can be restored

    expire_deletions()
    collected = registry.collect()
    assert (collected.freed_bytes, collected.left, collected.stopped) == (len(gone), 0, {})
    assert registry.stored_bytes() == registry.recorded_bytes() == len(kept) + len(CONFIG)
    assert registry.has(kept)
    assert (Manifest.objects.count(), Artifact.objects.count(), Tag.objects.count()) == (1, 1, 1)
    assert not Deletion.objects.exists()
    assert not Garbage.objects.exists()
    assert check_storage().is_clean


def test_what_another_repository_or_manifest_uses_stays(registry: Registry) -> None:
    shared = secrets.token_bytes(500)
    registry.push("v1", layer=shared, on="other")
    registry.push("v2", layer=shared, annotations={"n": "2"})
    registry.delete(registry.push("v1", layer=shared))
    expire_deletions()
    assert registry.collect().freed_bytes == 0
    assert registry.has(shared)
    registry.delete(Digest(bytes(Artifact.objects.get(tags__name="v2", deleted_at=None).digest)))
    expire_deletions()
    assert registry.collect().freed_bytes == 0
    delete_repository(repository=registry.repository("other"), cause=BY_SYSTEM)
    expire_deletions()
    collected = registry.collect()
    assert collected.freed_bytes == len(shared) + len(CONFIG)
    assert (registry.stored_bytes(), registry.recorded_bytes()) == (0, 0)
    assert Repository.objects.get().name == "app"


def test_the_grace_period_protects_what_was_just_deleted_even_from_an_emptied_trash(
    registry: Registry,
    configure: Configure,  # noqa: F811 the fixture
) -> None:
    layer = secrets.token_bytes(300)
    registry.delete(registry.push("v1", layer=layer))
    assert registry.collect(empty_trash=True).counts["deletions"] == 0
    assert registry.has(layer)
    configure(gc_grace_s=0)
    execute("UPDATE content_garbage SET due_at = now()")
    assert registry.collect(empty_trash=True).freed_bytes == len(layer) + len(CONFIG)


def test_nothing_is_kept_of_deleted_content_when_the_settings_say_so(
    registry: Registry,
    configure: Configure,  # noqa: F811 the fixture
) -> None:
    configure(deleted_retention_days=0, gc_grace_s=0)
    registry.delete(registry.push("v1"))
    registry.collect()
    assert (registry.stored_bytes(), Deletion.objects.count()) == (0, 0)


def test_blobs_that_no_manifest_used_go_after_their_grace_period(registry: Registry) -> None:
    used, unused, promised = (secrets.token_bytes(size) for size in (100, 200, 400))
    registry.push("v1", layer=used)
    for content in (unused, promised):
        registry.push_blob(content)
    assert registry.collect().counts["links"] == 0
    expire_links()
    blob = Blob.objects.get(digest=Digest.of(promised).raw)
    RepositoryBlob.objects.filter(blob=blob).update(grace_until="2999-01-01T00:00Z")
    assert registry.collect().counts["links"] == 1
    execute("UPDATE content_garbage SET due_at = now() - interval '1 hour' WHERE kind = 2")
    assert registry.collect().freed_bytes == len(unused)
    assert (registry.has(used), registry.has(unused), registry.has(promised)) == (True, False, True)
    expire_links()
    RepositoryBlob.objects.filter(blob=blob).update(grace_until="2020-01-01T00:00Z")
    execute("UPDATE content_garbage SET due_at = now() - interval '1 hour'")
    assert registry.collect().counts["links"] == 1


def test_links_are_looked_at_once_each(on_folder: Registry) -> None:
    on_folder.push_blob(b"first")
    expire_links()
    on_folder.collect()
    on_folder.push_blob(b"second")
    execute(
        "UPDATE content_repositoryblob SET created_at = now() - interval '2 hours', "
        "grace_until = now() - interval '1 hour'"
    )
    execute("UPDATE events_cursor SET seq = seq - 86400 WHERE name = 'garbage: links'")
    assert on_folder.collect().counts["links"] == 1
    assert not RepositoryBlob.objects.exists()


def test_garbage_that_an_older_release_left_is_found(registry: Registry) -> None:
    layer = secrets.token_bytes(700)
    registry.delete(registry.push("v1", layer=layer))
    expire_deletions()
    execute("DELETE FROM content_garbage")
    registry.collect()
    execute("DELETE FROM content_garbage")
    execute("UPDATE events_cursor SET seq = 0 WHERE name LIKE 'garbage:%'")
    registry.collect()
    execute("UPDATE content_garbage SET due_at = now()")
    registry.collect()
    assert (registry.stored_bytes(), registry.recorded_bytes()) == (0, 0)


def test_a_dry_run_lists_exactly_what_a_run_removes(registry: Registry) -> None:
    first, second, shared = (secrets.token_bytes(size) for size in (111, 222, 444))
    registry.push("kept", layer=shared)
    digests = [registry.push(layer=layer, annotations={"n": str(len(layer))}) for layer in (first, second, shared)]
    for digest in digests:
        registry.delete(digest)
    expire_deletions()
    dry = registry.collect(dry_run=True)
    listed = list(registry.lines)
    assert registry.has(first)
    assert [str(Digest.of(content)) in "\n".join(listed) for content in (first, second, shared)] == [True, True, False]
    for digest in digests:
        assert any(f"would remove the manifest {digest}" in line for line in listed)
    real = registry.collect()
    assert dry.freed_bytes == real.freed_bytes == len(first) + len(second)
    assert {name: dry.counts[name] for name in ("objects", "manifests", "deletions")} == {
        name: real.counts[name] for name in ("objects", "manifests", "deletions")
    }


def test_untagged_artifacts_go_to_the_trash_and_what_is_referred_to_stays(registry: Registry) -> None:
    tagged, child, lonely = registry.push("v1"), registry.push(), registry.push()
    registry.push_index(child)
    about = {"mediaType": OCI_MANIFEST, "digest": str(tagged), "size": 2}
    signature = registry.push(subject=about)
    nested = registry.push()
    registry.push_index(nested, tag="later untagged")
    assert registry.collect(delete_untagged=True).counts["untagged"] == 0  # all of it is younger than the grace period
    delete_tag(repository=registry.repository(), tag="later untagged", cause=BY_SYSTEM)
    execute("UPDATE content_artifact SET pushed_at = pushed_at - interval '2 hours'")
    assert registry.collect(delete_untagged=True, dry_run=True).counts["untagged"] == 2
    assert registry.collect(delete_untagged=True).counts["untagged"] == 3
    living = {Digest(bytes(raw)) for raw in Artifact.objects.filter(deleted_at=None).values_list("digest", flat=True)}
    assert {tagged, child, signature} < living
    assert living.isdisjoint({lonely, nested})
    assert Deletion.objects.filter(reason="gc").count() == 3


def test_what_a_policy_protects_is_not_collected_though_it_has_no_tag(on_folder: Registry) -> None:
    digest = on_folder.push()
    execute("UPDATE content_artifact SET pushed_at = pushed_at - interval '2 hours'")
    with registered(Recorder("fleet", refused=[Moment.DELETE])) as policy:
        assert on_folder.collect(delete_untagged=True).counts["untagged"] == 0
        (context,) = policy.at(Moment.DELETE)
    assert isinstance(context, DeletePlan)
    assert (context.cause.reason, list(context.artifacts.values())) == ("gc", [digest])
    assert any(str(digest) in line and "kept" in line for line in on_folder.lines)
    assert on_folder.collect(delete_untagged=True).counts["untagged"] == 1


@pytest.mark.parametrize("fault", [LIE, SLOW_DOWN, SERVER_ERROR, RESET_AFTER])
def test_a_store_that_lies_or_fails_keeps_its_rows_until_it_is_well(
    faulty: FaultyStore,
    minio: Minio,
    configure: Configure,  # noqa: F811 the fixture
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    monkeypatch.setattr(S3Store, "journal_delay_s", 0.0)
    configure(data=tmp_path, **minio.settings() | {"s3_endpoint": faulty.url, "s3_attempts": 1})
    installation.begin()
    registry = Registry(stores.default_store())
    layer = secrets.token_bytes(800)
    registry.delete(registry.push("v1", layer=layer))
    expire_deletions()
    faulty.fail(fault, method="POST", matches=lambda path: "delete" in path, times=-1)
    collected = registry.collect()
    faulty.heal()
    if fault == RESET_AFTER:  # the store did it, and could not say so
        assert registry.stored_bytes() == 0
    else:
        assert registry.stored_bytes() == registry.recorded_bytes() == len(layer) + len(CONFIG)
    assert (collected.freed_bytes, collected.left, Blob.objects.count()) == (0, 2, 2)
    assert check_storage().is_clean
    assert registry.collect().left == 0
    assert (registry.stored_bytes(), registry.recorded_bytes()) == (0, 0)


class _Lying:
    """A store whose deletes have no effect, whatever it says."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def delete_batch(self, keys: Any, *, is_stopping: Any) -> list[Removal]:
        del is_stopping
        return [Removal(key, 0, "the store reports success, but the object is still there") for key in keys]


def test_the_row_stays_until_the_store_has_confirmed_that_the_object_is_gone(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = secrets.token_bytes(900)
    registry.delete(registry.push("v1", layer=layer))
    expire_deletions()
    with monkeypatch.context() as patched:
        patched.setattr("registry_core.content.collecting.configured_stores", lambda: [_Lying(registry.store)])
        collected = registry.collect()
    assert (collected.freed_bytes, collected.left) == (0, 2)
    assert Blob.objects.filter(state=Blob.State.DELETING).count() == 2
    assert registry.stored_bytes() == registry.recorded_bytes() > 0
    assert DoomedObject.objects.filter(attempts=1, failure__contains="still there").count() == 2
    assert check_storage().is_clean
    assert registry.collect().freed_bytes == len(layer) + len(CONFIG)
    assert (registry.stored_bytes(), registry.recorded_bytes()) == (0, 0)


def test_a_push_of_a_doomed_blob_brings_its_own_object(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = secrets.token_bytes(900)
    registry.delete(registry.push("v1", layer=layer))
    expire_deletions()
    with monkeypatch.context() as patched:
        patched.setattr("registry_core.content.collecting.configured_stores", lambda: [_Lying(registry.store)])
        registry.collect()
    registry.push("again", layer=layer)
    assert registry.collect().counts["objects"] == 2
    assert registry.has(layer)
    assert registry.stored_bytes() == registry.recorded_bytes() == len(layer) + len(CONFIG)
    assert check_storage().is_clean


def test_a_push_or_mount_of_queued_blobs_keeps_them(registry: Registry) -> None:
    pushed, mounted, lost = (secrets.token_bytes(100) for _ in range(3))
    for layer in (pushed, mounted, lost):
        registry.delete(registry.push(layer=layer, annotations={"n": layer.hex()}))
    registry.push_blob(mounted, on="other")
    expire_deletions()
    registry.push("v1", layer=pushed)
    wanted = Wanted(Digest.of(mounted), registry.repository("other").id, None)
    assert mount_blob(repository=registry.repository("third"), wanted=wanted, cause=BY_SYSTEM)
    registry.collect()
    assert [registry.has(layer) for layer in (pushed, mounted, lost)] == [True, True, False]


def test_a_store_of_another_installation_is_left_alone(registry: Registry) -> None:
    layer = secrets.token_bytes(100)
    registry.delete(registry.push("v1", layer=layer))
    expire_deletions()
    Installation.objects.update(name="another")
    collected = registry.collect()
    assert "belongs to the installation" in collected.stopped[registry.store.name]
    assert registry.has(layer)
    assert collected.freed_bytes == 0


def test_a_missing_disk_frees_nothing(on_folder: Registry) -> None:
    layer = secrets.token_bytes(100)
    on_folder.delete(on_folder.push("v1", layer=layer))
    expire_deletions()
    on_folder.collect(dry_run=True)
    objects = get_config().data / "objects"
    objects.rename(objects.with_name("elsewhere"))
    on_folder.collect()
    assert Blob.objects.count() == 2
    objects.with_name("elsewhere").rename(objects)
    assert on_folder.collect().freed_bytes == len(layer) + len(CONFIG)


def test_many_objects_are_deleted_by_few_requests(
    minio: Minio,
    configure: Configure,  # noqa: F811 the fixture
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = S3Store(minio.config())
    keys = [stored(store, bytes([number])) for number in range(25)]
    with counted_calls(store, monkeypatch) as calls:
        removed = store.delete_batch(keys, is_stopping=lambda: False)
    assert calls == ["DeleteObjects"]
    assert sorted(each.key for each in removed if not each.failure and each.freed_bytes == 1) == sorted(keys)
    assert not list(store.objects())


@contextmanager
def counted_calls(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The deletes among the requests to the store."""
    calls: list[str] = []
    events = store._bucket._client.meta.events
    events.register("before-call.s3", lambda model, **_: calls.append(model.name), unique_id="calls")
    yield calls
    events.unregister("before-call.s3", unique_id="calls")
    calls[:] = [name for name in calls if name.startswith("Delete")]
