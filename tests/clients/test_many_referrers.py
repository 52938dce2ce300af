"""A thousand artifacts about one image: every client follows the pages of the list."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.clients.programs import Client, House
from tests.distribution.client import Client as HttpClient
from tests.distribution.client import descriptor, digest_of, image
from tests.support.layouts import MANIFEST_TYPE

pytestmark = [pytest.mark.usefixtures("signed_in"), pytest.mark.slow]

COUNT = 1000
LONG = "x" * 5000  # so that they are more than one page
KINDS = ("application/vnd.example.even", "application/vnd.example.odd")


@pytest.fixture
def subject(owner_http: HttpClient, house: House, unique: str) -> str:
    """The reference of an image that COUNT artifacts of two kinds refer to."""
    manifest = owner_http.push_image(b"layer", tag="1")
    about = descriptor(manifest, MANIFEST_TYPE)

    def attach(number: int) -> int:
        notes = {"number": str(number), "text": LONG}
        artifact = image(artifactType=KINDS[number % 2], subject=about, annotations=notes)
        return owner_http.put_manifest(artifact).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(attach, range(COUNT))) == {201}
    return f"{house.private_reference(unique)}@{digest_of(manifest)}"


def test_a_thousand_referrers_are_listed_by_oras_regctl_and_page_by_page(
    subject: str, owner_http: HttpClient, oras: Client, regctl: Client
) -> None:
    by_oras = json.loads(oras.must("discover", subject, "--format", "json", "--depth", "1").stdout)["referrers"]
    even = oras.must("discover", subject, "--format", "json", "--depth", "1", "--artifact-type", KINDS[0]).stdout
    by_regctl = json.loads(regctl.must("artifact", "list", subject, "--format", "{{json .Descriptors}}").stdout)

    pages = _pages(owner_http, subject.rpartition("@")[2])
    expected = {entry["digest"] for page in pages for entry in page}
    assert len(pages) > 1
    assert sum(len(page) for page in pages) == len(expected) == COUNT
    assert {each["digest"] for each in by_oras} == expected
    assert {entry["digest"] for entry in by_regctl} == expected
    assert len(json.loads(even)["referrers"]) == COUNT // 2


def _pages(client: HttpClient, digest: str) -> list[list[dict[str, str]]]:
    pages, url = [], client.path(f"referrers/{digest}")
    while url:
        answer = client.http.get(url)
        pages.append(answer.json()["manifests"])
        url = answer.links.get("next", {}).get("url", "")
    return pages
