"""Tags and the catalog: in byte order, by pages, of what the caller may see."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import pytest

from tests.distribution.client import Client, digest_of, refusal
from tests.distribution.conftest import OLGA
from tests.support.server import Server


def tag_with(client: Client, *tags: str) -> None:
    manifest = client.push_image()
    query = "&".join(f"tag={tag}" for tag in tags)
    assert client.put_manifest(manifest, f"{digest_of(manifest)}?{query}").status_code == 201


def pages(client: Client, url: str, key: str) -> list[list[str]]:
    """Follow `Link` to the end."""
    found = []
    while url:
        answer = client.http.get(url)
        assert answer.status_code == 200
        found.append(answer.json()[key])
        url = answer.links.get("next", {}).get("url", "")
    return found


def test_tags_are_listed_in_byte_order_and_by_pages(alice: Client, repository: str) -> None:
    tag_with(alice, "b", "a", "B", "_x", "1", "a.1", "a-1")
    expected = sorted(["b", "a", "B", "_x", "1", "a.1", "a-1"])
    assert alice.get("tags/list").json() == {"name": repository, "tags": expected}
    assert pages(alice, f"/v2/{repository}/tags/list?n=3", "tags") == [expected[:3], expected[3:6], expected[6:]]
    assert pages(alice, f"/v2/{repository}/tags/list?n=7", "tags") == [expected]
    assert alice.get("tags/list?last=a").json()["tags"] == [tag for tag in expected if tag > "a"]


@pytest.mark.parametrize("n", ["abc", "-1", "1.5", "1e3", "%00", "%D9%A1"])
def test_a_page_size_that_is_no_number_is_refused(alice: Client, sysadmin: Client, n: str) -> None:
    alice.push_image()
    assert alice.get(f"tags/list?n={n}").status_code == 400
    assert sysadmin.http.get(f"/v2/_catalog?n={n}").status_code == 400


def test_a_page_of_none_is_empty_and_a_huge_one_is_clamped(alice: Client, sysadmin: Client) -> None:
    tag_with(alice, "a")
    assert alice.get("tags/list?n=0").json()["tags"] == []
    assert alice.get("tags/list?n=" + "9" * 400).json()["tags"] == ["a"]
    assert sysadmin.http.get("/v2/_catalog?n=0").json() == {"repositories": []}


def test_more_tags_than_a_page_has_are_linked_to(alice: Client, server: Server, repository: str) -> None:
    tag_with(alice, "t")
    server.manage(_MANY_LIKE.format(name=repository.partition("/")[2], count=10_050))
    expected = ["t", *sorted(f"t-{number:05}" for number in range(1, 10_051))]
    for query in ("", "?n=999999999"):
        found = pages(alice, f"/v2/{repository}/tags/list{query}", "tags")
        assert [len(page) for page in found] == [10_000, 51]
        assert [tag for page in found for tag in page] == expected


# By rows: pushing them takes longer than all other tests of this file.
_MANY_LIKE = """
from registry_core.content.models import Tag
tag = Tag.objects.get(repository__name="{name}")
made = [Tag(repository=tag.repository, artifact=tag.artifact, name=f"t-{{number:05}}")
        for number in range(1, {count} + 1)]
Tag.objects.bulk_create(made)
"""


def test_a_repository_nobody_pushed_to_has_no_list(alice: Client) -> None:
    assert refusal(alice.get("tags/list")) == (404, "NAME_UNKNOWN")


def test_names_that_are_prefixes_of_others_are_all_in_the_catalog(alice: Client, sysadmin: Client) -> None:
    base = f"depot/p{secrets.token_hex(4)}"
    names = [base, f"{base}-x", f"{base}.x", f"{base}/a", f"{base}/a/b", f"{base}0"]
    for name in names:
        alice.push_image(on=name, tag=name.replace("/", "_"))
    listed = [name for page in pages(sysadmin, "/v2/_catalog?n=20", "repositories") for name in page]
    assert [name for name in listed if name.startswith(base)] == sorted(names)
    assert listed == sorted(set(listed))
    after = sysadmin.http.get("/v2/_catalog", params={"last": names[0], "n": "1"}).json()["repositories"]
    assert after == [f"{base}-x"]
    for name in names:
        assert alice.get("tags/list", on=name).json()["tags"] == [name.replace("/", "_")]


def test_a_page_that_was_just_listed_shows_what_was_made_since(alice: Client, sysadmin: Client) -> None:
    name = f"depot/q{secrets.token_hex(4)}"

    def is_listed() -> bool:
        # More than once: any of the processes may have remembered the page.
        pages = [sysadmin.http.get("/v2/_catalog", params={"last": name[:-1], "n": "1"}) for _ in range(3)]
        seen = {name in page.json()["repositories"] for page in pages}
        assert len(seen) == 1
        return seen.pop()

    assert not is_listed()
    alice.push_image(on=name)
    assert is_listed()


def test_the_catalog_is_for_those_who_may_list_it(clients: Callable[..., Client], alice: Client) -> None:
    alice.push_image()
    for client in (alice, clients(OLGA), clients(None)):
        assert client.http.get("/v2/_catalog").status_code == 401


QUERIES = ["last=%00", "last=%ff", "last=" + "x" * 5000, "n=1&n=2", "&".join(["a"] * 500), "%", "n=1&last=%2f%2f"]


@pytest.mark.parametrize("query", QUERIES)
def test_no_query_breaks_a_list(alice: Client, sysadmin: Client, query: str) -> None:
    alice.push_image(tag="a")
    for path in (alice.path("tags/list"), "/v2/_catalog", alice.path("referrers/sha256:" + "0" * 64)):
        assert sysadmin.http.get(f"{path}?{query}").status_code in {200, 400}
