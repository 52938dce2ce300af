"""Short uploads in their files: what the folder remembers, what it forgets, and what is not gone on with."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from registry_core.access import Subject, SubjectKind
from registry_core.content import upload_tokens
from registry_core.storage.interface import UploadLost
from registry_core.storage.staging import Place, Staging

NAME, OTHER = "0" * 32, "1" * 32
ALICE, BOB = Subject(SubjectKind.USER, 1, "alice"), Subject(SubjectKind.USER, 2, "bob")
TTL_S, MEMORY_S = 1000, 500


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    made = Staging(tmp_path / "staging")
    made.prepare()
    return made


@pytest.mark.parametrize("content", [b"", b"\n", b"x\ny\n", bytes(1 << 19)])
def test_only_the_first_to_begin_an_upload_does(staging: Staging, content: bytes) -> None:
    assert staging.read(NAME) is Place.NOWHERE
    assert staging.add(NAME, content)
    assert not staging.add(NAME, b"another")
    assert not staging.reserve(NAME)
    assert staging.read(NAME) == content


def test_an_upload_that_is_over_or_elsewhere_is_not_begun_again(staging: Staging) -> None:
    staging.add(NAME, b"content")
    assert staging.reserve(OTHER)
    assert not staging.add(OTHER, b"again")
    assert staging.read(OTHER) is Place.NOWHERE, "it is on its way, and has nothing yet"
    for name in (NAME, OTHER):
        staging.end(name)
        assert staging.read(name) is Place.ELSEWHERE
        assert not staging.add(name, b"again")
    staging.forget(OTHER)
    assert staging.add(OTHER, b"again")


@pytest.mark.parametrize("half_made", [b"", b"\n"])
def test_what_is_just_being_made_is_not_there_yet_and_does_not_stay_so(
    staging: Staging, tmp_path: Path, half_made: bytes
) -> None:
    path = tmp_path / "staging" / NAME
    path.write_bytes(half_made)
    assert staging.read(NAME) is Place.NOWHERE
    assert not staging.add(NAME, b"another")
    os.utime(path, (time.time() - 60,) * 2)
    assert staging.read(NAME) is Place.NOWHERE
    assert staging.add(NAME, b"content")


def test_nobody_goes_on_with_what_was_not_flushed_before_another_boot(
    staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging.add(NAME, b"content")
    monkeypatch.setattr("registry_core.storage.local_files.boot_id", lambda: "another")
    with pytest.raises(UploadLost):
        staging.read(NAME)


def test_nobody_goes_on_with_a_file_that_has_lost_its_first_line(staging: Staging, tmp_path: Path) -> None:
    """A power cut may keep the later pages of a file alone; the first one reads as zeros."""
    path = tmp_path / "staging" / NAME
    for first in (bytes(4096), bytes(100) + b"\n" + bytes(3995)):
        staging.add(NAME, b"content\n" * 2000)
        path.write_bytes(first + path.read_bytes()[4096:])
        with pytest.raises(UploadLost):
            staging.read(NAME)
        staging.forget(NAME)


def test_the_sweep_ends_what_is_idle_and_forgets_what_nobody_can_begin_again(staging: Staging, tmp_path: Path) -> None:
    def age(name: str, seconds: float) -> None:
        os.utime(tmp_path / "staging" / name, (time.time() - seconds,) * 2)

    names = [digit * 32 for digit in "abcd"]
    idle, young, over, just_over = names
    for name, seconds in ((idle, TTL_S + 1), (young, TTL_S - 9)):
        staging.add(name, b"content")
        age(name, seconds)
    for name, seconds in ((over, MEMORY_S + 1), (just_over, MEMORY_S - 9)):
        staging.end(name)
        age(name, seconds)
    staging.reserve(OTHER)
    assert staging.sweep(ttl_s=TTL_S, memory_s=MEMORY_S) == 1
    assert [staging.read(name) for name in names] == [Place.ELSEWHERE, b"content", Place.NOWHERE, Place.ELSEWHERE]
    assert staging.names() == {young: True, OTHER: False}


def test_a_token_is_for_one_repository_and_one_subject_and_begins_an_upload_for_an_hour(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = upload_tokens.issue(repository_id=7, by=ALICE, algorithm="sha512")
    token = upload_tokens.read(text, repository_id=7, by=ALICE)
    assert token is not None
    assert (token.algorithm, token.is_fresh, len(token.name)) == ("sha512", True, 32)
    assert upload_tokens.read(text, repository_id=8, by=ALICE) is None
    assert upload_tokens.read(text, repository_id=7, by=BOB) is None
    now_s = time.time()
    monkeypatch.setattr(time, "time", lambda: now_s + upload_tokens.FRESH_S)
    later = upload_tokens.read(text, repository_id=7, by=ALICE)
    assert later is not None
    assert not later.is_fresh


@pytest.mark.parametrize(
    "change", [lambda text: text[:-4], lambda text: f"A{text[1:-1]}A", lambda text: f"{text}=", str.swapcase]
)
def test_a_token_that_was_changed_is_none(change: Callable[[str], str]) -> None:
    text = upload_tokens.issue(repository_id=7, by=ALICE, algorithm="sha256")
    assert upload_tokens.read(change(text), repository_id=7, by=ALICE) is None


@pytest.mark.parametrize("text", ["", "x", "0CkoDqP4T3xoODS-TY8lt-r_vT6Co9Nl1mwzX2pDd6c", "é" * 48, "=" * 48])
def test_what_is_no_token_is_none(text: str) -> None:
    assert upload_tokens.read(text, repository_id=7, by=ALICE) is None
