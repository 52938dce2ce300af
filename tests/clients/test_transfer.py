"""How bytes come and go: large, many at once, in odd pieces, over connections that break, and not at all."""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.clients.doors import Registry
from tests.clients.programs import Client, Credentials, House
from tests.distribution.client import Client as HttpClient
from tests.distribution.client import digest_of
from tests.support.cutting_proxy import CuttingProxy
from tests.support.extent import IS_FULL
from tests.support.layouts import CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE, Layout, new_archive, new_image

pytestmark = pytest.mark.usefixtures("signed_in")

MIB = 1 << 20
LARGE_BYTES = 3 << 30 if IS_FULL else 256 * MIB
LARGE_WITHIN_S = 1200


# --- large -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def large(tmp_path: Path) -> Layout:
    """A layout with an image `large` whose one layer has LARGE_BYTES. It is no archive: nobody unpacks it."""
    layout = Layout(tmp_path / "large")
    path = tmp_path / "layer"
    sha256 = hashlib.sha256()
    block = os.urandom(MIB - 8)
    with path.open("wb") as file:
        for number in range(LARGE_BYTES // MIB):
            piece = block + number.to_bytes(8, "big")
            file.write(piece)
            sha256.update(piece)
    layer = {"mediaType": LAYER_TYPE, "digest": f"sha256:{sha256.hexdigest()}", "size": LARGE_BYTES}
    path.rename(layout.path(layer))
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": layout.add(json.dumps(config).encode(), CONFIG_TYPE),
        "layers": [layer],
    }
    layout.tag(layout.add(json.dumps(manifest).encode(), MANIFEST_TYPE), "large")
    return layout


@pytest.mark.slow
def test_a_large_layer_pushed_by_skopeo_is_pulled_whole(
    skopeo: Client, crane: Client, house: House, large: Layout, tmp_path: Path, unique: str
) -> None:
    reference = house.private_reference(f"{unique}:1")

    push = skopeo(
        "copy", "--preserve-digests", f"oci:{large.where('large')}", f"docker://{reference}", timeout_s=LARGE_WITHIN_S
    )
    pull = skopeo("copy", f"docker://{reference}", f"dir:{tmp_path / 'pulled'}", timeout_s=LARGE_WITHIN_S)

    assert push.is_success, push.text
    assert pull.is_success, pull.text  # it compares what it receives with the digest
    assert crane.must("digest", reference).stdout.strip() == large.digest("large")
    assert max(path.stat().st_size for path in (tmp_path / "pulled").iterdir()) == LARGE_BYTES


# --- many at once ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_fifty_images_that_share_layers_are_pushed_at_once(
    crane: Client, skopeo: Client, house: House, tmp_path: Path, unique: str
) -> None:
    """Into five repositories of two projects, each image with three layers that all have and one of its own."""
    shared = [new_archive(200_000) for _ in range(3)]
    layouts = [_image_on(shared, tmp_path / str(number)) for number in range(50)]
    projects = (house.private, house.other)
    references = [f"{house.host}/{projects[n % 2]}/{unique}-{n % 5}:{n}" for n in range(50)]

    def push(number: int) -> str:
        outcome = crane("push", str(layouts[number].folder), references[number], timeout_s=300)
        return "" if outcome.is_success else outcome.text

    with ThreadPoolExecutor(50) as pool:
        failures = [failure for failure in pool.map(push, range(50)) if failure]

    assert failures == []
    with ThreadPoolExecutor(4) as pool:
        digests = list(pool.map(lambda reference: crane.must("digest", reference).stdout.strip(), references))
    assert digests == [layout.digest("new") for layout in layouts]
    assert skopeo("copy", f"docker://{references[7]}", f"dir:{tmp_path / 'pulled'}").is_success


def _image_on(shared: list[bytes], folder: Path) -> Layout:
    layout = Layout(folder)
    archives = [*shared, new_archive()]
    diff_ids = [digest_of(archive) for archive in archives]
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": layout.add(json.dumps(config).encode(), CONFIG_TYPE),
        "layers": [layout.add(archive, LAYER_TYPE) for archive in archives],
    }
    layout.tag(layout.add(json.dumps(manifest).encode(), MANIFEST_TYPE), "new")
    return layout


# --- in pieces -------------------------------------------------------------------------------------------------------


def test_chunks_of_odd_sizes_make_one_blob(owner_http: HttpClient) -> None:
    sizes = [1, 65_535, 3, 65_537, MIB + 1, 2, 7, 999_983, 1]
    content = os.urandom(sum(sizes))
    url, offset = owner_http.start_upload().headers["location"], 0

    for size in sizes:
        sent = owner_http.http.patch(
            url,
            content=content[offset : offset + size],
            headers={"content-range": f"{offset}-{offset + size - 1}", "content-type": "application/octet-stream"},
        )
        offset += size
        assert (sent.status_code, sent.headers["range"]) == (202, f"0-{offset - 1}")
        url = sent.headers["location"]

    assert owner_http.http.put(url, params={"digest": digest_of(content)}).status_code == 201
    assert owner_http.get(f"blobs/{digest_of(content)}").content == content


def test_regctl_pushes_in_chunks_of_an_odd_size(
    regctl: Client, owner_http: HttpClient, house: House, tmp_path: Path, unique: str
) -> None:
    layout = Layout(tmp_path / "layout-of-chunks")
    layout.tag(new_image(layout, is_gzip=False), "new")
    # Chunks as small as the registry asks for (OCI-Chunk-Min-Length), and a little more.
    regctl.must("registry", "set", "--skip-check", "--blob-max", "1", "--blob-chunk", "65539", house.host)
    big = os.urandom(300_001).hex()

    digest = regctl.must("blob", "put", house.private_reference(unique), stdin=big).stdout.strip()
    copy = regctl("image", "copy", f"ocidir://{layout.where('new')}", house.private_reference(f"{unique}:1"))

    assert owner_http.get(f"blobs/{digest}").text == big
    assert copy.is_success, copy.text


def test_ranges_fetched_in_parallel_make_the_blob(owner_http: HttpClient) -> None:
    content = os.urandom(5 * MIB + 17)
    assert owner_http.push_blob(content).status_code == 201
    path, step = f"blobs/{digest_of(content)}", 333_337

    def fetch(start: int) -> bytes:
        answer = owner_http.get(path, headers={"range": f"bytes={start}-{start + step - 1}"})
        assert answer.status_code == 206
        return answer.content

    with ThreadPoolExecutor(16) as pool:
        assert b"".join(pool.map(fetch, range(0, len(content), step))) == content


# --- over connections that break -------------------------------------------------------------------------------------


def _through(proxy: CuttingProxy, credentials: Credentials, house: House, name: str) -> str:
    """The reference of a repository in the private project by way of the proxy, with the owner's credentials there."""
    credentials.use(proxy.host, house.owner)
    return f"{proxy.host}/{house.private}/{name}"


@pytest.fixture
def heavy(tmp_path: Path) -> Layout:
    """A layout with an image `new` whose layer has 8 MiB."""
    return _image_on([os.urandom(8 * MIB)], tmp_path / "heavy")


def test_crane_pushes_over_a_connection_that_was_cut(
    registry: Registry, crane: Client, credentials: Credentials, house: House, heavy: Layout, unique: str
) -> None:
    with CuttingProxy(registry.server.port, after_bytes=3 * MIB, cuts=1) as proxy:
        push = crane("push", str(heavy.folder), _through(proxy, credentials, house, f"{unique}:1"))

    assert proxy.cut_count == 1
    assert push.is_success, push.text
    credentials.use(house.host, house.owner)
    assert crane.must("digest", house.private_reference(f"{unique}:1")).stdout.strip() == heavy.digest("new")


def test_regctl_pushes_chunks_over_a_connection_that_was_cut(
    registry: Registry, regctl: Client, credentials: Credentials, house: House, heavy: Layout, unique: str
) -> None:
    with CuttingProxy(registry.server.port, after_bytes=3 * MIB, cuts=1) as proxy:
        _use_chunks(regctl, registry, proxy)
        reference = _through(proxy, credentials, house, f"{unique}:1")
        push = regctl("image", "copy", f"ocidir://{heavy.where('new')}", reference)

    assert proxy.cut_count == 1
    assert push.is_success, push.text
    credentials.use(house.host, house.owner)
    assert regctl.must("image", "digest", house.private_reference(f"{unique}:1")).stdout.strip() == heavy.digest("new")


def _use_chunks(regctl: Client, registry: Registry, proxy: CuttingProxy) -> None:
    tls = "enabled" if registry.is_tls else "disabled"
    chunks = ("--blob-max", "1", "--blob-chunk", str(2 * MIB))
    regctl.must("registry", "set", "--skip-check", "--tls", tls, *chunks, proxy.host)


def test_an_upload_goes_on_where_the_connection_was_cut(registry: Registry, owner_http: HttpClient) -> None:
    content = os.urandom(8 * MIB)
    url = owner_http.start_upload().headers["location"]
    with CuttingProxy(registry.server.port, after_bytes=5 * MIB, cuts=1) as proxy:
        through = f"{registry.url.partition('://')[0]}://{proxy.host}{url}"
        with pytest.raises(httpx.TransportError):
            owner_http.http.patch(through, content=content)

    done = _finish(owner_http, url, content)

    assert done.status_code == 201, done.text
    assert owner_http.get(f"blobs/{digest_of(content)}").content == content


def _finish(client: HttpClient, url: str, content: bytes) -> httpx.Response:
    """Send the rest from where the registry says. It may still be writing what came before the cut: then it says no
    once more (409 busy, 416 not from there), and where it is now."""
    status = client.http.get(url)
    offset = int(status.headers["range"].partition("-")[2]) + 1
    assert offset < len(content)

    def attempt() -> httpx.Response:
        rest = {"content-range": f"{offset}-{len(content) - 1}"}
        return client.http.put(url, params={"digest": digest_of(content)}, content=content[offset:], headers=rest)

    answer = attempt()
    while answer.status_code in {409, 416}:
        offset = int(client.http.get(url).headers["range"].partition("-")[2]) + 1
        answer = attempt()
    assert offset > 0
    return answer


def test_a_download_goes_on_where_the_connection_was_cut(owner_http: HttpClient) -> None:
    content = os.urandom(8 * MIB)
    owner_http.push_blob(content)
    # Where the bytes come from: the registry, or the object store that it sends its clients to.
    source = owner_http.get(f"blobs/{digest_of(content)}").url
    received = bytearray()
    assert source.port is not None
    with CuttingProxy(source.port, after_bytes=3 * MIB, cuts=2) as proxy:
        while len(received) < len(content):
            _receive(owner_http.http, source, proxy, received)

    assert proxy.cut_count == 2
    assert bytes(received) == content


def _receive(http: httpx.Client, source: httpx.URL, proxy: CuttingProxy, received: bytearray) -> None:
    """Go on from what was received until the end or the next cut, from the source through the proxy."""
    url = source.copy_with(netloc=proxy.host.encode())
    headers = {"range": f"bytes={len(received)}-", "host": source.netloc.decode()}
    auth = http.auth if source.host == "localhost" else None  # a signed address is proof enough
    try:
        with http.stream("GET", url, headers=headers, auth=auth) as answer:
            assert answer.status_code == 206
            for piece in answer.iter_bytes():
                received += piece
    except httpx.TransportError:
        return


# --- not at all ------------------------------------------------------------------------------------------------------


def test_crane_copies_between_private_projects_by_mounting(
    crane: Client, house: House, layout: Layout, unique: str
) -> None:
    source, target = house.private_reference(f"{unique}:1"), house.other_reference(f"{unique}:1")
    crane.must("push", str(layout.folder), source)

    copy = crane("copy", "--verbose", source, target)

    assert copy.is_success, copy.text
    assert "mounted blob" in copy.text, copy.text


def test_a_blob_is_mounted_from_a_private_project_and_an_unknown_one_begins_an_upload(
    owner_http: HttpClient, house: House, unique: str
) -> None:
    content, there = os.urandom(1000), f"{house.other}/{unique}"
    digest = digest_of(content)
    owner_http.push_blob(content)

    mounted = owner_http.start_upload(on=there, mount=digest, **{"from": owner_http.repository})
    unknown = owner_http.start_upload(on=there, mount=digest, **{"from": "no/such"})

    assert (mounted.status_code, mounted.headers["docker-content-digest"]) == (201, digest)
    assert owner_http.get(f"blobs/{digest}", on=there).content == content
    assert unknown.status_code == 202
