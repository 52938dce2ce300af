"""What one `q` may ask of a list, whoever asks, and how its keys may be written."""

from __future__ import annotations

import time
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projects.labels import add_label, create_label
from registry_core.api.messages import PARAMETER_MAX
from registry_core.api.query import CONDITIONS_MAX, Q_MAX, VALUES_MAX, AllOf, AnyOf, Exact, folded, parse_q
from registry_core.content.models import Artifact, Project
from registry_core.errors import InvalidInput
from tests.api.conftest import Api
from tests.api.content import put, repository_of
from tests.api.listings import EMPTY, Listing, listings
from tests.support.operations import BY_SYSTEM

__all__ = ["listings"]

VALUE_OF: Final = {
    "digest": "sha256:" + "0" * 64, "blobdigest": "sha256:" + "0" * 64, "labels": "1", "public": "true",
    "deleted": "false", "immutable": "false", "disabled": "true", "visible": "true", "sysadminflag": "true",
    "operationresult": "true", "opresult": "true", "level": "system", "creatortype": "local", "scope": "p",
    "type": "signature.notation",
}  # fmt: skip
HARBORS_Q: Final = {
    "projects": "owner_id update_time registry_id deleted name ProjectID OwnerID CreationTime",
    "repositories": "description name repository_id Name RepositoryID blob_digest",
    "projects/{}/repositories/{}/artifacts": "repository_name project_id digest Digest PushTime RepositoryName",
    "users": "comment update_time UserID Username Realname",
    "robots": "id duration visible creator_ref creator_type expiresat update_time Name ExpiresAt Disabled",
    "labels": "description color scope project_id Name",
    "auditlog-exts": "op_desc op_result ProjectID Username OpTime",
    "projects/{}/auditlog-exts": "op_desc op_result ProjectID",
}
HARBORS_SORT: Final = {
    "projects": "update_time owner_id name Name",
    "repositories": "repository_id name UpdateTime",
    "users": "realname update_time sysadmin_flag Username",
    "robots": "description duration disabled creator_ref name",
    "labels": "description color name",
    "audit-logs": "username operation resource resource_type op_time",
    "auditlog-exts": "username operation resource resource_type OpTime",
    "quotas": "creation_time update_time hard.storage",
}


def test_a_key_is_named_once_in_every_list_however_it_is_written(sysadmin: Api, listings: list[Listing]) -> None:
    seen = 0
    for listing in listings:
        for key in listing.keys(sysadmin, "q"):
            value = VALUE_OF.get(folded(key), "2026-01-01")
            asked = sysadmin.get(listing.at(f"q={key}={value},{key.title()}={value}"))
            assert (asked.status_code, "twice" in asked.json()["errors"][0]["message"]) == (400, True), (listing, key)
            seen += 1
    assert seen > 40


def test_a_list_takes_ten_conditions_and_fifty_values(sysadmin: Api, listings: list[Listing]) -> None:
    many = "{" + " ".join(map(str, range(VALUES_MAX + 1))) + "}"
    for listing in listings:
        keys = listing.keys(sysadmin, "q")
        if listing.name in EMPTY or not keys:
            continue
        too_many = ",".join(f"{key}=1" for key in [*keys, *(f"x{number}" for number in range(CONDITIONS_MAX + 1))])
        assert sysadmin.get(listing.at(f"q={too_many}")).status_code == 400, listing
        for values in (many, many.replace("{", "(").replace("}", ")")):
            refused = sysadmin.get(listing.at(f"q={keys[0]}={values}"))
            assert (refused.status_code, f"at most {VALUES_MAX}" in refused.content.decode()) == (400, True), listing


def test_every_key_of_harbors_lists_is_known(sysadmin: Api, listings: list[Listing]) -> None:
    wrong = []
    by_name = {listing.name: listing for listing in listings}
    for parameter, table in (("q", HARBORS_Q), ("sort", HARBORS_SORT)):
        for name, keys in table.items():
            for key in keys.split():
                value = "=" + VALUE_OF.get(folded(key), _value(folded(key))) if parameter == "q" else ""
                answer = sysadmin.get(by_name[name].at(f"{parameter}={key}{value}"))
                if answer.status_code != 200:
                    wrong.append(f"{name} {parameter}={key}{value}: {answer.status_code} {answer.content!r}")
    assert not wrong, "\n".join(wrong)


def _value(key: str) -> str:
    if key.endswith("time"):
        return "[2020-01-01 00:00:00~]"
    return "1" if key.endswith(("id", "ref", "at", "duration")) else "x"


def test_labels_are_asked_for_all_at_once(sysadmin: Api, project: Project) -> None:
    repository = repository_of(project, "app")
    digests = [put(repository, f"v{number}") for number in range(3)]
    labels = [
        create_label(project=project, name=f"l{number}", description="", color="", cause=BY_SYSTEM).pk
        for number in range(3)
    ]
    for number, digest in enumerate(digests):
        artifact = Artifact.objects.get(repository_id=repository.id, digest=digest.raw)
        for label_id in labels[: number + 1]:
            add_label(repository=repository, artifact=artifact, label_id=label_id, cause=BY_SYSTEM)
    a, b, c = labels
    base = "/projects/fleet/repositories/app/artifacts?sort=id&q=labels="
    for asked, found in (
        (f"({a} {b} {c})", digests[2:]), (f"({a} {b})", digests[1:]), (f"({a} {a})", digests),
        (f"{{{b} {c}}}", digests[1:]), (f"({a} 999999)", []), (str(c), digests[2:]),
    ):  # fmt: skip
        assert [shown["digest"] for shown in sysadmin.get(base + asked).json()] == [str(each) for each in found], asked
    everything = " ".join(map(str, range(1, VALUES_MAX + 1)))
    assert sysadmin.get(f"{base}({everything})").json() == []


def test_a_parameter_is_no_book(sysadmin: Api) -> None:
    for parameter in ("name", "owner"):
        assert sysadmin.get(f"/projects?{parameter}={'x' * (PARAMETER_MAX + 1)}").status_code == 400
    assert sysadmin.get(f"/projects?q=name={'x' * Q_MAX}").status_code == 400
    assert sysadmin.get(f"/projects?sort={','.join(['name'] * 100)}").status_code == 400


# --- the language by itself ------------------------------------------------------------------------------------------


@given(st.text(st.sampled_from("ab=,~[]{}()\"' %1"), max_size=60))
def test_what_is_asked_is_understood_within_the_bounds_or_refused(text: str) -> None:
    try:
        conditions = parse_q(text)
    except InvalidInput:
        return
    assert len(conditions) <= CONDITIONS_MAX
    for match in conditions.values():
        if isinstance(match, AnyOf | AllOf):
            assert 0 < len(match.values) <= VALUES_MAX


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.from_regex(r"[a-z0-9.]{1,9}", fullmatch=True)))
def test_conditions_come_back_as_they_were_asked(asked: dict[str, str]) -> None:
    text = ",".join(f"{key}={value}" for key, value in asked.items())
    if len(asked) > CONDITIONS_MAX:
        with pytest.raises(InvalidInput):
            parse_q(text)
    else:
        assert parse_q(text) == {key: Exact(value) for key, value in asked.items()}


@pytest.mark.parametrize(
    "piece", ["a=[", "a=(1 ", "a={'", 'a="', "a='\"", " ", "a=( ", "=,", "a=~", "a=[~", "a=({[", "a=\"'", "a=(\"'"]
)
def test_hostile_text_is_read_in_no_time(piece: str) -> None:
    text = (piece * Q_MAX)[:Q_MAX]
    started = time.perf_counter()
    for _ in range(10):
        try:
            parse_q(text)
        except InvalidInput:
            continue
    assert (time.perf_counter() - started) / 10 < 0.02
