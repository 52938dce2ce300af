"""Answers from memory: for whom they are, for what requests, and for how long."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from registry_core.access import Subject, SubjectKind
from registry_core.caching.generation_cache import GenerationCache
from registry_core.content.blobs import BlobRef
from registry_core.content.repositories import ProjectRef, RepositoryRef
from registry_core.digests import Digest
from registry_core.distribution import blobs, known_answers
from registry_core.distribution.identity import Identity, credentials_key
from registry_core.distribution.known_answers import KnownAnswer
from registry_core.distribution.reads import Located
from registry_core.http.messages import Request
from registry_core.machine.generations import Generations
from registry_core.names import RepositoryName
from registry_core.storage.interface import SignedUrl
from registry_core.tokens.jwt import Claims, Grant

NAME = RepositoryName("depot", "app")
DIGEST = Digest.of(b"content")
PATH = f"/v2/{NAME}/blobs/{DIGEST}"
URL = "http://store/objects/1?signature=x"
ROBOT = Subject(SubjectKind.ROBOT, 3, "robot$ci")
PROJECT = ProjectRef(1, NAME.project, False, False)
REPOSITORY = RepositoryRef(2, NAME, PROJECT)


class Worker:
    """What one worker remembers of a blob in an object store, and of those who pull it."""

    def __init__(self, generations: Generations) -> None:
        self.generations = generations
        names = ("answers", "names", "projects", "actions", "absences", "identities", "blobs")
        limits = {"projects": "projects by name"}
        caches: dict[str, Any] = {name: GenerationCache(generations, limits.get(name, name)) for name in names}
        caches["signed_urls"] = GenerationCache(generations, "signed urls")
        self.services: Any = SimpleNamespace(generations=generations, pulls=Counter(), **caches)
        self._remember("projects", PROJECT.name, PROJECT, ["name"])
        self._remember("names", str(NAME), Located(PROJECT, REPOSITORY, None), ["name"])
        self._remember("actions", (ROBOT.kind, ROBOT.id, PROJECT.id), frozenset({"pull"}), ["rights"])
        self._remember("blobs", (REPOSITORY.id, DIGEST), BlobRef(5, DIGEST, 7, "s3", "1"), [REPOSITORY.key])
        self.sign(ttl_s=100)

    def sign(self, *, ttl_s: float) -> None:
        self.services.signed_urls.put("1", SignedUrl(URL), seen=(), ttl_s=ttl_s)

    def token(self, text: str, *grants: Grant, made_at: int = 1000) -> Mapping[str, str]:
        """The headers of who comes with a token that was verified here before."""
        times = (made_at, made_at, made_at + 1800)
        claims = Claims("portolan", "harbor-registry", ROBOT.key, ROBOT.name, *times, text, 1, grants)
        headers = {"authorization": f"Bearer {text}"}
        key = credentials_key(headers["authorization"])
        self._remember("identities", key, Identity(ROBOT, claims, 1), [ROBOT.key])
        return headers

    def pull(self, headers: Mapping[str, str], method: str = "GET") -> int:
        """Pull by the way that asks every memory; the status."""
        request = Request(method, PATH, "", headers, "192.0.2.1", "http", "host", "1", "http://host", _no_body)
        return asyncio.run(blobs.get(request, self.services, str(NAME), str(DIGEST))).status

    def recall(self, headers: Mapping[str, str], method: str = "GET") -> KnownAnswer | None:
        return known_answers.recall(method, PATH, headers, self.services)

    def _remember(self, cache: str, key: object, value: object, keys: list[str]) -> None:
        memory: GenerationCache[object] = getattr(self.services, cache)
        memory.put(key, value, seen=memory.begin(keys))


def _no_body() -> Any:
    raise AssertionError("nobody reads the body")


def grant(*actions: str, rid: int | None = REPOSITORY.id) -> Grant:
    return Grant("repository", str(NAME), actions, PROJECT.id, rid)


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Worker:
    generations = Generations(tmp_path / "generations")
    generations.followed(1)
    monkeypatch.setattr(blobs, "store_named", lambda name: SimpleNamespace(name=name))
    return Worker(generations)


def test_a_redirect_is_given_again_to_every_token_that_says_the_same(worker: Worker) -> None:
    first, second = worker.token("first", grant("pull")), worker.token("second", grant("pull"), made_at=2000)
    assert worker.recall(first) is None

    assert worker.pull(first) == 307

    known = worker.recall(second)
    assert known is not None
    assert (known.status, dict(known.headers)["location"], known.user) == (307, URL, ROBOT.name)
    assert worker.recall(worker.token("narrower", grant("push"))) is None
    assert worker.recall({"authorization": "Bearer never-verified"}) is None
    assert worker.recall({}) is None


def test_a_grant_of_a_repository_that_was_not_there_yet_depends_on_the_time_of_its_token(worker: Worker) -> None:
    one = worker.token("one", grant("pull", rid=None), grant("pull"), made_at=1000)
    other = worker.token("other", grant("pull", rid=None), grant("pull"), made_at=2000)
    worker.pull(one)
    assert (worker.recall(one) is None, worker.recall(other) is None) == (False, True)


def test_head_has_an_answer_of_its_own_and_who_wants_a_part_is_not_answered_from_memory(worker: Worker) -> None:
    headers = worker.token("token", grant("pull"))
    worker.pull(headers)
    assert worker.recall(headers, "HEAD") is None
    assert worker.pull(headers, "HEAD") == 200
    known = worker.recall(headers, "HEAD")
    assert known is not None
    assert (known.status, dict(known.headers)["content-length"]) == (200, "7")
    for header in ({"range": "bytes=0-1"}, {"if-none-match": f'"{DIGEST}"'}):
        assert worker.recall({**headers, **header}) is None
    assert worker.recall(headers, "DELETE") is None


def test_a_redirect_is_forgotten_with_the_url_that_it_sends_to(worker: Worker) -> None:
    headers = worker.token("token", grant("pull"))
    worker.sign(ttl_s=0.3)
    worker.pull(headers)
    assert worker.recall(headers) is not None
    time.sleep(0.35)
    assert worker.recall(headers) is None


@pytest.mark.parametrize("changed", ["name", "rights", REPOSITORY.key, ROBOT.key])
def test_any_change_of_what_an_answer_stands_on_ends_it(worker: Worker, changed: str) -> None:
    headers = worker.token("token", grant("pull"))
    worker.pull(headers)
    assert worker.recall(headers) is not None
    worker.generations.bump([changed])
    assert worker.recall(headers) is None
