"""The quota counts what is stored, to the byte: blobs, manifests, and uploads that are not finished."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test

from tests.distribution.client import EMPTY_CONFIG, Client, digest_of, image, refusal
from tests.support.extent import IS_FULL
from tests.support.quotas import audit, make_project, pusher, set_limit, used_bytes
from tests.support.server import Server

MIB = 1 << 20
LONG = 700_000  # more than what is staged without a row
DENIED = (403, "DENIED")


@pytest.fixture
def project(server: Server, unique: str) -> int:
    return make_project(server, unique, MIB)


@pytest.fixture
def client(server: Server, unique: str, project: int) -> Iterator[Client]:
    connected = pusher(server, f"{unique}/app")
    yield connected
    connected.http.close()


@pytest.fixture
def used(server: Server, project: int) -> Iterator[Callable[[], int]]:
    yield lambda: used_bytes(server, project)
    found = audit(server, project)
    assert found.is_exact, found.found


def location(client: Client) -> str:
    return str(client.start_upload().headers["location"])


def finish(client: Client, where: str, content: bytes, last: bytes = b"") -> httpx.Response:
    return client.http.put(where, params={"digest": digest_of(content)}, content=last)


def manifest_of(size: int) -> bytes:
    """An image manifest of so many bytes."""
    found = image(annotations={"x": ""})
    return image(annotations={"x": "a" * (size - len(found))})


def test_a_manifest_is_paid_for_once_per_project_until_its_last_artifact_goes(
    client: Client, used: Callable[[], int], unique: str
) -> None:
    other = f"{unique}/other"
    manifest = client.push_image(b"layer", tag="v1")
    whole = len(manifest) + len(b"layer") + len(EMPTY_CONFIG)
    assert used() == whole
    assert client.put_manifest(manifest, "v2").status_code == 201
    for content in (EMPTY_CONFIG, b"layer"):
        assert client.push_blob(content, on=other).status_code == 201
    assert client.put_manifest(manifest, "v1", on=other).status_code == 201
    assert used() == whole
    assert client.delete(f"manifests/{digest_of(manifest)}").status_code == 202
    assert used() == whole
    assert client.delete(f"manifests/{digest_of(manifest)}", on=other).status_code == 202
    assert used() == 0
    client.push_image(b"layer")
    assert client.put_manifest(manifest, "v1").status_code == 201
    assert used() == 2 * len(manifest) + len(b"layer") + len(EMPTY_CONFIG)


@pytest.mark.parametrize("is_plain", [True, False])
def test_a_manifest_is_refused_to_the_byte(client: Client, used: Callable[[], int], is_plain: bool) -> None:
    assert client.push_blob(EMPTY_CONFIG).status_code == 201
    subject = {} if is_plain else {"subject": {"mediaType": "a/b", "digest": digest_of(b"none"), "size": 1}}
    base = image(**subject)
    padding = MIB - len(EMPTY_CONFIG) - len(base)
    filled = base[:-1] + b" " * padding + base[-1:]
    assert refusal(client.put_manifest(filled[:-1] + b" }")) == DENIED
    assert used() == len(EMPTY_CONFIG)
    assert client.put_manifest(filled).status_code == 201
    assert used() == MIB
    assert refusal(client.put_manifest(image(), "v1")) == DENIED
    assert client.put_manifest(filled, "again").status_code == 201


def test_deleting_a_repository_frees_its_manifests(
    client: Client, used: Callable[[], int], server: Server, unique: str
) -> None:
    for number in range(3):
        client.push_image(b"layer", tag=f"v{number}")
    account = client.account
    assert account is not None
    address = f"{server.url}/api/v2.0/projects/{unique}/repositories/app"
    assert httpx.delete(address, auth=(account.name, account.password)).status_code == 200
    assert used() == 0


def test_a_copy_within_the_project_costs_nothing_and_elsewhere_all(
    client: Client, used: Callable[[], int], server: Server, unique: str
) -> None:
    manifest = client.push_image(b"layer", tag="v1")
    target = make_project(server, f"{unique}x", -1)
    before, account = used(), client.account
    assert account is not None
    for project in (unique, f"{unique}x"):
        address = f"{server.url}/api/v2.0/projects/{project}/repositories/copy/artifacts"
        answer = httpx.post(
            address, params={"from": f"{unique}/app:v1"}, auth=(account.name, account.password), timeout=30
        )
        assert answer.status_code == 201, answer.text
    assert used() == before
    assert used_bytes(server, target) == before == len(manifest) + len(b"layer") + len(EMPTY_CONFIG)


@pytest.mark.parametrize("size", [60 * MIB, LONG, 400_000])
def test_unfinished_uploads_stay_within_the_quota_and_are_freed_when_they_end(
    client: Client, used: Callable[[], int], size: int
) -> None:
    answers = {}
    for _ in range(6):
        where = location(client)
        answers[where] = client.http.patch(where, content=bytes(size))
    begun = [where for where, answer in answers.items() if answer.status_code == 202]
    assert len(begun) == MIB // size
    assert {refusal(answer) for where, answer in answers.items() if where not in begun} == {DENIED}
    assert used() == len(begun) * size
    refused = next(where for where in answers if where not in begun)
    assert client.http.get(refused).status_code in {204, 404}
    for where in begun:
        assert client.http.delete(where).status_code == 204
    assert used() == 0
    assert client.push_blob(secrets.token_bytes(MIB)).status_code == 201


def test_hundreds_of_short_uploads_stay_within_the_quota(client: Client, used: Callable[[], int]) -> None:
    statuses = [client.http.patch(location(client), content=bytes(100_000)).status_code for _ in range(200)]
    assert statuses.count(202) == MIB // 100_000
    assert set(statuses) == {202, 403}
    assert used() == MIB // 100_000 * 100_000


@pytest.mark.parametrize("sizes", [(1_000,), (LONG,), (1_000, 1_000), (1_000, LONG), (LONG, 1_000, 1_000)])
@pytest.mark.parametrize("is_whole", [True, False])
def test_an_upload_counts_from_its_first_byte_and_once(
    client: Client, used: Callable[[], int], server: Server, project: int, sizes: tuple[int, ...], is_whole: bool
) -> None:
    set_limit(server, project, sum(sizes))
    content, where = b"", location(client)
    for size in sizes:
        content += secrets.token_bytes(size)
        answer = client.http.patch(where, content=content[-size:])
        assert answer.status_code == 202
        where = answer.headers["location"]
        assert used() == len(content)
    stated = content if is_whole else content + b"more"
    assert finish(client, where, stated).status_code == (201 if is_whole else 400)
    assert used() == (len(content) if is_whole else 0)


@pytest.mark.parametrize("size", [1_000, LONG])
def test_bytes_that_the_project_has_already_are_freed_when_the_upload_ends(
    client: Client, used: Callable[[], int], size: int
) -> None:
    content = secrets.token_bytes(size)
    assert client.push_blob(content).status_code == 201
    where = location(client)
    if size < MIB // 2:
        assert client.http.patch(where, content=content).status_code == 202
        assert used() == 2 * size
    else:
        assert refusal(client.http.patch(where, content=content)) == DENIED
        where = location(client)
    assert used() >= size
    if size < MIB // 2:
        assert finish(client, where, content).status_code == 201
    assert used() == size


@pytest.mark.parametrize("size", [1_000, LONG])
@pytest.mark.parametrize("count", [20])
def test_pushers_that_fill_the_quota_to_the_byte_are_all_served_and_one_more_is_not(
    client: Client, used: Callable[[], int], server: Server, project: int, unique: str, size: int, count: int
) -> None:
    set_limit(server, project, size * count)
    contents = [secrets.token_bytes(size) for _ in range(count)]

    def push(content: bytes) -> int:
        own = pusher(server, f"{unique}/r{secrets.token_hex(2)}")
        with own.http:
            where = own.http.post(own.path("blobs/uploads/")).headers["location"]
            where = own.http.patch(where, content=content).headers["location"]
            return finish(own, where, content).status_code

    with ThreadPoolExecutor(count) as pool:
        assert list(pool.map(push, contents)) == [201] * count
    assert used() == size * count
    assert refusal(client.http.patch(location(client), content=b"x")) == DENIED
    assert refusal(client.push_blob(b"x")) == DENIED


@pytest.mark.parametrize("size", [1_000, LONG])
def test_more_pushers_than_fit_never_exceed_the_quota_and_as_many_as_fit_are_served(
    used: Callable[[], int], server: Server, project: int, unique: str, size: int
) -> None:
    set_limit(server, project, size * 7 + size // 2)

    def push(_number: int) -> int:
        own = pusher(server, f"{unique}/r{secrets.token_hex(2)}")
        with own.http:
            where = own.http.post(own.path("blobs/uploads/")).headers["location"]
            answer = own.http.patch(where, content=secrets.token_bytes(size))
            return answer.status_code

    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(push, range(20)))
    assert sorted(statuses) == [202] * 7 + [403] * 13
    assert used() == 7 * size


def test_what_is_leased_and_unused_refuses_nobody(
    client: Client, used: Callable[[], int], server: Server, project: int, unique: str
) -> None:
    set_limit(server, project, 100 * MIB)
    for _ in range(3):
        content = secrets.token_bytes(300_000)
        where = location(client)
        assert client.http.patch(where, content=content).status_code == 202
        assert finish(client, where, content).status_code == 201
    assert audit(server, project).leased_bytes > 0
    assert used() == 900_000
    left = 100 * MIB - 900_000
    assert client.push_blob(bytes(left)).status_code == 201
    assert used() == 100 * MIB
    assert client.delete(f"blobs/{digest_of(bytes(left))}").status_code == 202
    assert client.http.patch(location(client), content=secrets.token_bytes(300_000)).status_code == 202
    assert client.push_blob(EMPTY_CONFIG).status_code == 201
    left -= 300_000 + len(EMPTY_CONFIG)
    assert refusal(client.push_blob(bytes(left + 1))) == DENIED
    assert client.push_blob(bytes(left)).status_code == 201


def test_uploads_that_expire_are_freed(client: Client, used: Callable[[], int], server: Server, project: int) -> None:
    assert client.http.patch(location(client), content=bytes(100_000)).status_code == 202
    assert client.http.patch(location(client), content=bytes(LONG)).status_code == 202
    assert used() == 100_000 + LONG
    swept = audit(
        server,
        project,
        before="from registry_core.storage import staged_bytes\nstaged_bytes._CHANGING_S = -1\n"
        "from django.db import connection\n"
        "connection.cursor().execute(\"UPDATE content_upload SET updated_at = now() - interval '2 days'\")\n"
        "uploads.sweep_uploads(ttl_s=0)",
    )
    assert swept.charged_bytes == 0
    assert used() == 0


def make_machine(server: Server, unique: str) -> type[RuleBasedStateMachine]:
    class Quotas(RuleBasedStateMachine):
        """The model of a project is what it has by digest, where, and what its uploads have."""

        uploads = Bundle("uploads")
        repositories = st.sampled_from(["a", "b"])
        blobs = st.sampled_from([b"1" * 300, b"2" * 5_000, b"3" * 60_000, b"4" * 600_000])

        def __init__(self) -> None:
            super().__init__()
            name = f"{unique}{secrets.token_hex(3)}"
            self.project = make_project(server, name, MIB)
            self.clients = {key: pusher(server, f"{name}/{key}") for key in "ab"}
            self.links: dict[str, set[bytes]] = {"a": set(), "b": set()}
            self.manifests: dict[str, set[bytes]] = {"a": set(), "b": set()}
            self.unfinished: dict[str, bytes] = {}

        def teardown(self) -> None:
            for client in self.clients.values():
                client.http.close()

        def has(self) -> int:
            stored = set().union(*self.links.values(), *self.manifests.values())
            return sum(map(len, stored)) + sum(map(len, self.unfinished.values()))

        def fits(self, answer: httpx.Response, size: int) -> bool:
            """Whether the request was done; it must have been if it fits, and not otherwise."""
            is_done = answer.status_code in {201, 202}
            assert is_done == (self.has() + size <= MIB), answer.text
            return is_done

        @rule(key=repositories, blob=blobs)
        def push(self, key: str, blob: bytes) -> None:
            is_known = any(blob in links for links in self.links.values())
            answer = self.clients[key].push_blob(blob)
            if len(blob) > 512 << 10 and is_known and self.has() + len(blob) > MIB:
                assert answer.status_code == 403  # its bytes come in before anybody knows that they are known
            elif self.fits(answer, 0 if is_known else len(blob)):
                self.links[key].add(blob)

        @rule(key=repositories, blob=blobs)
        def mount(self, key: str, blob: bytes) -> None:
            other = "b" if key == "a" else "a"
            if blob in self.links[other]:
                source = self.clients[other].repository
                answer = self.clients[key].start_upload(mount=digest_of(blob), **{"from": source})
                assert answer.status_code == 201
                self.links[key].add(blob)

        @rule(key=repositories, blob=blobs)
        def delete_blob(self, key: str, blob: bytes) -> None:
            answer = self.clients[key].delete(f"blobs/{digest_of(blob)}")
            assert answer.status_code == (202 if blob in self.links[key] else 404)
            self.links[key].discard(blob)

        @rule(key=repositories, size=st.sampled_from([300, 20_000, 400_000]), number=st.integers(0, 1))
        def put(self, key: str, size: int, number: int) -> None:
            empty = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]'
            manifest = empty + b',"annotations":{"x":"%d%s"}}' % (number, b"x" * size)
            is_known = any(manifest in known for known in self.manifests.values())
            kind = "application/vnd.oci.image.index.v1+json"
            answer = self.clients[key].put_manifest(manifest, content_type=kind)
            if self.fits(answer, 0 if is_known else len(manifest)):
                self.manifests[key].add(manifest)

        @rule(key=repositories)
        def delete_manifest(self, key: str) -> None:
            if self.manifests[key]:
                manifest = self.manifests[key].pop()
                assert self.clients[key].delete(f"manifests/{digest_of(manifest)}").status_code == 202

        @rule(target=uploads, size=st.sampled_from([1, 1_000, 200_000, 600_000]))
        def begin(self, size: int) -> str:
            where = location(self.clients["a"])
            content = secrets.token_bytes(size)
            if self.fits(self.clients["a"].http.patch(where, content=content), size):
                self.unfinished[where] = content
            return where

        @rule(where=uploads, size=st.sampled_from([1, 1_000, 200_000, 600_000]))
        def append(self, where: str, size: int) -> None:
            if where not in self.unfinished:
                return
            more = secrets.token_bytes(size)
            if self.fits(self.clients["a"].http.patch(where, content=more), size):
                self.unfinished[where] += more
            else:
                del self.unfinished[where]

        @rule(where=consumes(uploads), is_right=st.booleans())
        def finish(self, where: str, is_right: bool) -> None:
            content = self.unfinished.pop(where, None)
            if content is not None:
                answer = finish(self.clients["a"], where, content if is_right else content + b"x")
                assert answer.status_code == (201 if is_right else 400)
                self.links["a"] |= {content} if is_right else set()

        @rule(where=consumes(uploads))
        def cancel(self, where: str) -> None:
            is_there = self.unfinished.pop(where, None) is not None
            answer = self.clients["a"].http.delete(where)
            assert answer.status_code == 204 if is_there else answer.status_code in {204, 404}

        @invariant()
        def the_project_is_charged_for_what_it_has(self) -> None:
            assert used_bytes(server, self.project) == self.has()

    return Quotas


@pytest.mark.slow
def test_whatever_is_done_the_quota_counts_what_is_there(server: Server, unique: str) -> None:
    run_state_machine_as_test(
        make_machine(server, unique),
        settings=settings(
            max_examples=20 if IS_FULL else 6,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    drifting = server.manage(
        "from registry_core.content import quota_audit\nfrom registry_core.content.models import Project\n"
        "found = [quota_audit.audit(key) for key in Project.objects.values_list('pk', flat=True)]\n"
        "print([each for each in found if not each.is_exact])"
    )
    assert drifting.splitlines()[-1] == "[]"
