"""Cached answers: for whom they are, for what requests, and for how long."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest

from registry_core.access import Subject, SubjectKind
from registry_core.caching import cache
from registry_core.caching.cache import Cache
from registry_core.content.blobs import BlobRef
from registry_core.content.repositories import ProjectRef, RepositoryRef
from registry_core.digests import Digest
from registry_core.distribution import blobs, cached_answers
from registry_core.distribution.cached_answers import CachedAnswer, answer_cache
from registry_core.distribution.guards import absence_cache, action_cache, name_cache, project_cache
from registry_core.distribution.identity import Identity, credentials_key, identity_cache
from registry_core.distribution.reads import Located
from registry_core.http.messages import Request
from registry_core.machine.generations import Generations
from registry_core.names import RepositoryName
from registry_core.storage.interface import SignedUrl
from registry_core.tokens.jwt import Claims, Grant
from tests.support.caches import isolate

NAME = RepositoryName("depot", "app")
DIGEST = Digest.of(b"content")
PATH = f"/v2/{NAME}/blobs/{DIGEST}"
URL = "http://store/objects/1?signature=x"
ROBOT = Subject(SubjectKind.ROBOT, 3, "robot$ci")
PROJECT = ProjectRef(1, NAME.project, False, False)
REPOSITORY = RepositoryRef(2, NAME, PROJECT)


class Worker:
    """What one worker has cached of a blob in an object store, and of those who pull it."""

    def __init__(self, generations: Generations, monkeypatch: pytest.MonkeyPatch) -> None:
        self.generations = generations
        self.services: Any = SimpleNamespace(generations=generations, pulls=Counter())
        caches = (identity_cache, answer_cache, name_cache, project_cache, action_cache, absence_cache)
        isolate(monkeypatch, generations, [*caches, blobs._blob_cache, blobs._url_cache])
        put(project_cache, PROJECT.name, PROJECT, ["name"])
        put(name_cache, str(NAME), Located(PROJECT, REPOSITORY, None), ["name"])
        put(action_cache, (ROBOT.kind, ROBOT.id, PROJECT.id), frozenset({"pull"}), ["rights"])
        self.find_blob()
        self.sign(ttl_s=100)

    def find_blob(self) -> None:
        put(blobs._blob_cache, (REPOSITORY.id, DIGEST), BlobRef(5, DIGEST, 7, "s3", "1"), [REPOSITORY.key])

    def sign(self, *, ttl_s: float) -> None:
        blobs._url_cache.put("1", SignedUrl(URL), seen=(), ttl_s=ttl_s)

    def token(self, text: str, *grants: Grant, made_at: int = 1000) -> Mapping[str, str]:
        """The headers of who comes with a token that was verified here before."""
        times = (made_at, made_at, made_at + 1800)
        claims = Claims("portolan", "harbor-registry", ROBOT.key, ROBOT.name, *times, text, 1, grants)
        headers = {"authorization": f"Bearer {text}"}
        key = credentials_key(headers["authorization"])
        put(identity_cache, key, Identity(ROBOT, claims, 1), [ROBOT.key])
        return headers

    def pull(self, headers: Mapping[str, str], method: str = "GET") -> int:
        """Pull by the way that asks every cache; the status."""
        request = Request(method, PATH, "", headers, "192.0.2.1", "http", "host", "1", "http://host", _no_body)
        return asyncio.run(blobs.get(request, self.services, str(NAME), str(DIGEST))).status

    def cached(self, headers: Mapping[str, str], method: str = "GET") -> CachedAnswer | None:
        return cached_answers.get(method, PATH, headers, self.services)


def put(into: Cache[Any], key: object, value: object, keys: list[str]) -> None:
    into.put(key, value, seen=into.begin(keys))


def _no_body() -> Any:
    raise AssertionError("nobody reads the body")


def grant(*actions: str, rid: int | None = REPOSITORY.id) -> Grant:
    return Grant("repository", str(NAME), actions, PROJECT.id, rid)


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Worker:
    generations = Generations(tmp_path / "generations")
    generations.followed(1)
    monkeypatch.setattr(blobs, "store_named", lambda name: SimpleNamespace(name=name))
    return Worker(generations, monkeypatch)


def test_a_redirect_is_given_again_to_every_token_that_says_the_same(worker: Worker) -> None:
    first, second = worker.token("first", grant("pull")), worker.token("second", grant("pull"), made_at=2000)
    assert worker.cached(first) is None

    assert worker.pull(first) == 307

    answer = worker.cached(second)
    assert answer is not None
    assert (answer.status, dict(answer.headers)["location"], answer.user) == (307, URL, ROBOT.name)
    assert worker.cached(worker.token("narrower", grant("push"))) is None
    assert worker.cached({"authorization": "Bearer never-verified"}) is None
    assert worker.cached({}) is None


def test_a_grant_of_a_repository_that_was_not_there_yet_depends_on_the_time_of_its_token(worker: Worker) -> None:
    one = worker.token("one", grant("pull", rid=None), grant("pull"), made_at=1000)
    other = worker.token("other", grant("pull", rid=None), grant("pull"), made_at=2000)
    worker.pull(one)
    assert (worker.cached(one) is None, worker.cached(other) is None) == (False, True)


def test_head_has_an_answer_of_its_own_and_who_wants_a_part_is_not_answered_from_memory(worker: Worker) -> None:
    headers = worker.token("token", grant("pull"))
    worker.pull(headers)
    assert worker.cached(headers, "HEAD") is None
    assert worker.pull(headers, "HEAD") == 200
    answer = worker.cached(headers, "HEAD")
    assert answer is not None
    assert (answer.status, dict(answer.headers)["content-length"]) == (200, "7")
    for header in ({"range": "bytes=0-1"}, {"if-none-match": f'"{DIGEST}"'}):
        assert worker.cached({**headers, **header}) is None
    assert worker.cached(headers, "DELETE") is None


def test_a_redirect_is_forgotten_with_the_url_that_it_sends_to(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = worker.token("token", grant("pull"))
    worker.sign(ttl_s=100)
    worker.pull(headers)
    assert worker.cached(headers) is not None
    later_s = monotonic() + 101
    monkeypatch.setattr(cache, "monotonic", lambda: later_s)
    assert worker.cached(headers) is None


@pytest.mark.parametrize("changed", ["name", "rights", REPOSITORY.key, ROBOT.key])
def test_any_change_of_what_an_answer_stands_on_ends_it(worker: Worker, changed: str) -> None:
    headers = worker.token("token", grant("pull"))
    worker.pull(headers)
    assert worker.cached(headers) is not None
    worker.generations.bump([changed])
    assert worker.cached(headers) is None
