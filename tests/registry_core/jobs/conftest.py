"""A kind of job whose tasks do what the test says, and workers in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import pytest

from registry_core.jobs import kinds
from registry_core.jobs.kinds import JobKind, job_kind
from registry_core.jobs.running import Run


class Step(msgspec.Struct):
    """The parameters of the tests' tasks."""

    name: str = ""


Do = Callable[[Run[Step]], Mapping[str, Any] | None]
MakeKind = Callable[..., JobKind[Step]]


@pytest.fixture
def make_kind() -> Iterator[MakeKind]:
    """Declares kinds for one test: a name, what a task does, and the kind's options."""
    made: list[JobKind[Step]] = []

    def make(name: str, do: Do, **options: Any) -> JobKind[Step]:
        made.append(job_kind(name, parameters=Step, **options)(do))
        return made[-1]

    yield make
    for kind in made:
        kinds.forget(kind)
