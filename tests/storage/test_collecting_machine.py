"""Any order of pushes, tags, mounts, deletes, restores and collections, beside a model: what lives is there with every
byte, what can be restored comes back exactly, and what must go is gone from the store and the database."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from registry_core.content import installation, quota_audit
from registry_core.content.check import check_storage
from registry_core.content.errors import ContentInUse
from registry_core.content.manifests import delete_manifest
from registry_core.content.models import Artifact, Blob, Deletion, Garbage, Manifest, Repository, Tag
from registry_core.content.mounts import Wanted, mount_blob
from registry_core.content.repositories import RepositoryRef, repository_ref
from registry_core.content.repository_changes import delete_repository
from registry_core.content.restoring import repository_of_deletion, restore_deletion
from registry_core.content.tags import delete_tag
from registry_core.digests import Digest
from registry_core.errors import OperationError
from registry_core.storage import stores
from tests.storage.test_collecting import CONFIG, Registry, execute, expire_deletions, expire_links
from tests.storage.test_sweeping import Configure, configure  # noqa: F401 a fixture
from tests.support.operations import BY_SYSTEM

pytestmark = pytest.mark.django_db
IS_FULL: Final = os.environ.get("TEST_FULL") == "1"
REPOSITORIES: Final = ("app", "other")
TAGS: Final = ("v1", "v2", "latest")
LAYERS: Final = tuple(bytes([number]) * (100 + number) for number in range(4))
REPOSITORY, TAG, LAYER = st.sampled_from(REPOSITORIES), st.sampled_from(TAGS), st.integers(0, len(LAYERS) - 1)


@dataclass
class Content:
    """What one repository has: images by their digest with their layers, indexes with their children, and tags."""

    images: dict[str, frozenset[int]] = field(default_factory=dict)
    indexes: dict[str, frozenset[str]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass
class Gone:
    """What one delete took along."""

    repository: str
    is_whole: bool
    content: Content


def _taken_from(content: Content, digest: str) -> Content:
    """The artifact, taken out of the content."""
    if digest in content.images:
        return Content(images={digest: content.images.pop(digest)})
    return Content(indexes={digest: content.indexes.pop(digest)})


class Collections(RuleBasedStateMachine):
    """The registry on a folder of its own, and the model of it."""

    configure: Callable[..., None]

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        type(self).configure(data=self.folder, gc_grace_s=0)
        installation.begin()
        self.registry = Registry(stores.default_store())
        self.content: dict[str, Content] = {}
        self.trash: dict[int, Gone] = {}

    def teardown(self) -> None:
        try:
            self._everything_goes()
        finally:
            transaction.set_rollback(True)
            self.atomic.__exit__(None, None, None)
            shutil.rmtree(self.folder)

    @rule(on=REPOSITORY, layers=st.frozensets(LAYER, min_size=1, max_size=2), tag=st.none() | TAG)
    def push(self, on: str, layers: frozenset[int], tag: str | None) -> None:
        for layer in layers:
            self.registry.push_blob(LAYERS[layer], on)
        document = self._image(sorted(layers), on)
        digest = str(self.registry.put(document, *([tag] if tag else []), on=on))
        content = self.content.setdefault(on, Content())
        content.images[digest] = layers
        if tag:
            content.tags[tag] = digest

    def _image(self, layers: list[int], on: str) -> dict[str, Any]:
        self.registry.push_blob(CONFIG, on)
        described = [(CONFIG, "application/vnd.oci.image.config.v1+json")]
        described += [(LAYERS[layer], "application/vnd.oci.image.layer.v1.tar") for layer in layers]
        entries = [{"mediaType": kind, "digest": str(Digest.of(each)), "size": len(each)} for each, kind in described]
        return {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": entries[0],
            "layers": entries[1:],
        }

    @precondition(lambda self: any(content.images for content in self.content.values()))
    @rule(data=st.data(), tag=TAG)
    def push_index(self, data: st.DataObject, tag: str) -> None:
        on = data.draw(st.sampled_from([name for name, content in self.content.items() if content.images]))
        content = self.content[on]
        children = data.draw(st.frozensets(st.sampled_from(sorted(content.images)), min_size=1, max_size=2))
        digest = str(self.registry.push_index(*map(Digest.parse, sorted(children)), tag=tag, on=on))
        content.indexes[digest] = children
        content.tags[tag] = digest

    @rule(on=REPOSITORY, layer=LAYER)
    def push_a_blob_that_nothing_uses(self, on: str, layer: int) -> None:
        self.registry.push_blob(LAYERS[layer], on)
        self.content.setdefault(on, Content())

    @rule(source=REPOSITORY, on=REPOSITORY, layer=LAYER)
    def mount(self, source: str, on: str, layer: int) -> None:
        if source in self.content:
            wanted = Wanted(Digest.of(LAYERS[layer]), self.registry.repository(source).id, None)
            mount_blob(repository=self.registry.repository(on), wanted=wanted, cause=BY_SYSTEM)
            self.content.setdefault(on, Content())

    @precondition(lambda self: any(content.tags for content in self.content.values()))
    @rule(data=st.data())
    def delete_a_tag(self, data: st.DataObject) -> None:
        on = data.draw(st.sampled_from([name for name, content in self.content.items() if content.tags]))
        tag = data.draw(st.sampled_from(sorted(self.content[on].tags)))
        delete_tag(repository=self._ref(on), tag=tag, cause=BY_SYSTEM)
        self._deleted(on, Content(tags={tag: self.content[on].tags.pop(tag)}))

    @precondition(lambda self: any(content.images for content in self.content.values()))
    @rule(data=st.data())
    def delete_an_artifact(self, data: st.DataObject) -> None:
        on = data.draw(st.sampled_from([name for name, content in self.content.items() if content.images]))
        content = self.content[on]
        digest = data.draw(st.sampled_from(sorted(content.images) + sorted(content.indexes)))
        is_child = any(digest in children for children in content.indexes.values())
        try:
            delete_manifest(repository=self._ref(on), digest=Digest.parse(digest), cause=BY_SYSTEM)
        except ContentInUse:
            assert is_child
            return
        assert not is_child
        gone = Content(tags={tag: at for tag, at in content.tags.items() if at == digest})
        content.tags = {tag: at for tag, at in content.tags.items() if at != digest}
        gone = replace(_taken_from(content, digest), tags=gone.tags)
        self._deleted(on, gone)

    @precondition(lambda self: self.content)
    @rule(data=st.data())
    def delete_a_repository(self, data: st.DataObject) -> None:
        on = data.draw(st.sampled_from(sorted(self.content)))
        delete_repository(repository=self._ref(on), cause=BY_SYSTEM)
        self._deleted(on, self.content.pop(on), is_whole=True)

    def _deleted(self, on: str, content: Content, *, is_whole: bool = False) -> None:
        newest = Deletion.objects.latest("pk")
        self.trash[newest.pk] = Gone(on, is_whole, content)

    @precondition(lambda self: self.trash)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.trash)))
        gone = self.trash[number]
        row = Deletion.objects.get(pk=number)
        is_possible = self._can_restore(row, gone)
        try:
            restore_deletion(repository=repository_of_deletion(row), deletion_id=number, cause=BY_SYSTEM)
        except OperationError:
            assert not is_possible
            return
        assert is_possible
        content = self.content.setdefault(gone.repository, Content())
        content.images |= gone.content.images
        content.indexes |= gone.content.indexes
        content.tags |= gone.content.tags
        del self.trash[number]

    def _can_restore(self, row: Deletion, gone: Gone) -> bool:
        living = self.content.get(gone.repository)
        if gone.is_whole:
            return living is None
        if living is None or self._ref(gone.repository).id != row.repository_id:
            return False
        there = living.images.keys() | living.indexes.keys()
        new = gone.content.images.keys() | gone.content.indexes.keys()
        children = {child for listed in gone.content.indexes.values() for child in listed}
        return (
            not (new & there)
            and not (gone.content.tags.keys() & living.tags.keys())
            and children <= there | new
            and (bool(new) or self._is_tagged_row_living(row))
        )

    @staticmethod
    def _is_tagged_row_living(row: Deletion) -> bool:
        """Of a deleted tag: whether the very artifact that it pointed at lives, not the same content pushed again."""
        return Tag.objects.filter(deletion=row, artifact__deleted_at=None).exists()

    @rule()
    def collect(self) -> None:
        self.registry.collect()

    @rule()
    def collect_untagged(self) -> None:
        self.registry.collect(delete_untagged=True)
        for on, content in self.content.items():
            for _ in range(2):  # an index, and then what it listed
                self._forget_untagged(on, content)

    def _forget_untagged(self, on: str, content: Content) -> None:
        listed = {child for children in content.indexes.values() for child in children}
        for digests in (list(content.indexes), list(content.images)):
            for digest in [each for each in digests if each not in {*content.tags.values(), *listed}]:
                row = Artifact.objects.filter(digest=Digest.parse(digest).raw, repository__name=on).latest("pk")
                assert row.deletion_id
                self.trash[row.deletion_id] = Gone(on, is_whole=False, content=_taken_from(content, digest))

    @rule()
    def a_month_passes(self) -> None:
        expire_deletions()
        self.trash.clear()

    @rule()
    def an_hour_passes_for_what_nothing_uses(self) -> None:
        expire_links()

    @invariant()
    def what_lives_is_there(self) -> None:
        for on, content in self.content.items():
            living = Artifact.objects.filter(repository__name=on, repository__deleted_at=None, deleted_at=None)
            found = {str(Digest(bytes(raw))) for raw in living.values_list("digest", flat=True)}
            assert found == content.images.keys() | content.indexes.keys()
            tags = Tag.objects.filter(repository__name=on, repository__deleted_at=None, deleted_at=None)
            pairs = tags.values_list("name", "artifact__digest")
            assert {name: str(Digest(bytes(raw))) for name, raw in pairs} == content.tags
            for layers in content.images.values():
                assert all(self.registry.has(LAYERS[layer]) for layer in layers)
        for gone in self.trash.values():
            for layers in gone.content.images.values():
                assert all(self.registry.has(LAYERS[layer]) for layer in layers)

    @invariant()
    def the_quota_is_exact(self) -> None:
        assert quota_audit.audit(self.registry.project.pk).is_exact

    def _everything_goes(self) -> None:
        self.a_month_passes()
        self.an_hour_passes_for_what_nothing_uses()
        for _ in range(2):
            self.registry.collect()
            execute("UPDATE content_garbage SET due_at = now()")
        self.what_lives_is_there()
        layers = {layer for each in self.content.values() for image in each.images.values() for layer in image}
        has_images = any(content.images for content in self.content.values())
        expected = sum(len(LAYERS[layer]) for layer in layers) + (len(CONFIG) if has_images else 0)
        assert self.registry.stored_bytes() == self.registry.recorded_bytes() == expected
        assert (Garbage.objects.count(), Deletion.objects.count()) == (0, 0)
        assert not Blob.objects.filter(state=Blob.State.DELETING).exists()
        assert not Artifact.objects.filter(deleted_at__isnull=False).exists()
        assert not Repository.objects.filter(deleted_at__isnull=False).exists()
        assert Manifest.objects.count() == Artifact.objects.values("digest").distinct().count()
        assert check_storage().is_clean

    @staticmethod
    def _ref(name: str) -> RepositoryRef:
        found = Repository.objects.select_related("project").get(name=name, deleted_at=None)
        return repository_ref(found)


def test_any_order_of_changes_and_collections_keeps_what_lives_and_removes_the_rest(
    configure: Configure,  # noqa: F811 the fixture
) -> None:
    Collections.configure = staticmethod(configure)
    run_state_machine_as_test(
        Collections,
        settings=settings(
            max_examples=200 if IS_FULL else 15,
            stateful_step_count=50 if IS_FULL else 25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
