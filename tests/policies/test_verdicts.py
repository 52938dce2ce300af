"""Verdicts on pulls: shared by all requests that a policy cannot tell apart, and dropped when what they depend on
changes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from registry_core.access import Subject, SubjectKind
from registry_core.content import verdicts
from registry_core.content.errors import Refused
from registry_core.content.policy_contexts import Moment, PullContext, blob_content
from registry_core.content.repositories import ProjectRef, RepositoryRef
from registry_core.digests import Digest
from registry_core.distribution import blobs
from registry_core.distribution.identity import Identity
from registry_core.distribution.pull_policies import before_pull
from registry_core.distribution.shared_work import SharedWork
from registry_core.http.messages import Request
from registry_core.machine.generations import Generations
from registry_core.names import RepositoryName
from tests.policies.recorder import Recorder, registered
from tests.registry_core.test_cached_answers import PATH, PROJECT, REPOSITORY, Worker, grant
from tests.support.caches import isolate

ROBOT = Subject(SubjectKind.ROBOT, 3, "robot$ci")
CONTENT = blob_content(Digest.of(b"content"), 7)


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Worker:
    """A worker with a blob in an object store, and with caches of its own."""
    generations = Generations(tmp_path / "generations")
    generations.followed(1)
    isolate(monkeypatch, generations, [verdicts._verdict_cache])
    monkeypatch.setattr(blobs, "store_named", lambda name: SimpleNamespace(name=name))
    made = Worker(generations, monkeypatch)
    made.services.judging = SharedWork()
    return made


@pytest.fixture
def policy() -> Iterator[Recorder]:
    with registered(Recorder(PROJECT.name)) as recorder:
        yield recorder


def ask(
    worker: Worker, *, address: str = "192.0.2.1", repository: RepositoryRef = REPOSITORY
) -> Coroutine[Any, Any, Any]:
    """Ask about a pull from an address."""
    request = Request("GET", PATH, "", {}, address, "http", "host", f"request of {address}", "http://host", _no_body)
    return before_pull(request, worker.services, Identity(ROBOT, None, 1), repository, CONTENT, "")


def _no_body() -> Any:
    raise AssertionError("nobody reads the body")


def test_one_evaluation_serves_a_thousand_addresses_though_others_change_all_the_time(
    worker: Worker, policy: Recorder
) -> None:
    for number in range(1000):
        worker.generations.bump([f"repository:{1000 + number}"])
        worker.generations.followed(number)
        asyncio.run(ask(worker, address=f"192.0.2.{number}"))
    assert len(policy.asked) <= 2  # the slots of so many repositories may meet that of this one


def test_those_who_ask_at_the_same_time_wait_for_one_evaluation(worker: Worker, policy: Recorder) -> None:
    async def crowd() -> None:
        await asyncio.gather(*(ask(worker, address=f"192.0.2.{number}") for number in range(100)))

    asyncio.run(crowd())
    assert len(policy.asked) == 1
    (context,) = policy.asked
    assert isinstance(context, PullContext)
    assert (context.cause.subject, context.cause.reason) == (ROBOT, "client")
    assert context.cause.request_id == f"request of {context.cause.client}"


@pytest.mark.parametrize("is_refused", [False, True])
def test_a_verdict_holds_until_what_it_depends_on_changes(worker: Worker, policy: Recorder, is_refused: bool) -> None:
    policy.refused = frozenset({Moment.PULL} if is_refused else ())
    for _ in range(3):
        assert _is_refused(worker) == is_refused
    assert len(policy.asked) == 1
    policy.refused = frozenset()
    worker.generations.bump([REPOSITORY.key])
    assert not _is_refused(worker)
    assert len(policy.asked) == 2


def test_nobody_joins_an_evaluation_that_began_before_a_change(worker: Worker, policy: Recorder) -> None:
    context = PullContext(None, REPOSITORY, CONTENT, "", is_head=False)  # type: ignore[arg-type]  # the cause is not looked at
    (question,) = verdicts.questions(context)
    before = question.seen()
    worker.generations.bump([REPOSITORY.key])
    assert question.seen() != before


def test_each_address_has_a_verdict_of_its_own_where_the_policy_looks_at_it(worker: Worker) -> None:
    with registered(Recorder(PROJECT.name, is_per_client=True)) as policy:
        for address in ("192.0.2.1", "192.0.2.2", "192.0.2.1"):
            assert asyncio.run(ask(worker, address=address)) == [None]
    assert len(policy.asked) == 2


def test_a_verdict_is_the_repository_s_own(worker: Worker, policy: Recorder) -> None:
    other = RepositoryRef(77, RepositoryName(PROJECT.name, "other"), PROJECT)
    asyncio.run(ask(worker))
    asyncio.run(ask(worker, repository=other))
    elsewhere = ProjectRef(5, "elsewhere", False, False)
    asyncio.run(ask(worker, repository=RepositoryRef(78, RepositoryName("elsewhere", "app"), elsewhere)))
    assert len(policy.asked) == 2


def test_a_cached_redirect_ends_with_the_verdict_that_it_depends_on(worker: Worker, policy: Recorder) -> None:
    headers = worker.token("token", grant("pull"))
    assert worker.pull(headers) == 307
    assert worker.cached(headers) is not None
    policy.refused = frozenset({Moment.PULL})
    worker.generations.bump([REPOSITORY.key])
    assert worker.cached(headers) is None
    worker.find_blob()
    with pytest.raises(Refused):
        worker.pull(headers)
    assert worker.cached(headers) is None


def test_a_policy_elsewhere_leaves_cached_answers_alone(worker: Worker) -> None:
    with registered(Recorder("elsewhere", refused=[Moment.PULL])) as policy:
        headers = worker.token("token", grant("pull"))
        assert worker.pull(headers) == 307
        assert worker.cached(headers) is not None
        assert policy.asked == []


def test_whole_answers_are_not_cached_where_a_policy_looks_at_the_address(worker: Worker) -> None:
    with registered(Recorder(PROJECT.name, is_per_client=True)) as policy:
        headers = worker.token("token", grant("pull"))
        assert [worker.pull(headers), worker.pull(headers)] == [307, 307]
        assert worker.cached(headers) is None
        assert len(policy.asked) == 1


def _is_refused(worker: Worker) -> bool:
    try:
        asyncio.run(ask(worker))
    except Refused:
        return True
    return False
