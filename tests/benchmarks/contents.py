"""What the registries are filled with: for every part the same names and the same bytes in each of them."""

import hashlib
import os
import random
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.contestants import PROJECT, Contestant, Distribution, Portolan
from tests.benchmarks.loads import Load, loadgen
from tests.benchmarks.scale import KIB, LARGE_BYTES, MIB, Scale

HOT = f"{PROJECT}/hot"
COLD = f"{PROJECT}/cold"
BLOBS = f"{PROJECT}/blobs"
IMAGE = f"{PROJECT}/image"
TAGS = f"{PROJECT}/tags"
REFERRERS = f"{PROJECT}/referrers"
MANY = f"{PROJECT}/many"
IMAGE_LAYERS, IMAGE_LAYER_BYTES = 5, 20 * MIB
_PIECE_BYTES = 4 * MIB


class WrongContent(Exception):
    """A registry did not take, or does not give, what it should."""


class Contents:
    """Fills contestants, each part once, and remembers the digests. `pulls`: GETs of manifests that filling made."""

    def __init__(self, work: Path, scale: Scale) -> None:
        self._files = work / "files"
        self._files.mkdir(parents=True)
        self._scale = scale
        self.digests: dict[str, str] = {}
        self.pulls: dict[str, int] = {}
        self.sizes_bytes = {"blob-64k": 64 * KIB, "blob-64m": 64 * MIB, "blob-huge": scale.huge_blob_bytes}
        self._parts: dict[str, Callable[[Contestant], None]] = {
            "hot": self._hot, "cold": self._cold, "blobs": self._blobs, "image": self._image,
            "tags": self._tags, "referrers": self._referrers, "many": self._many,
        }  # fmt: skip

    def fill(self, contestant: Contestant, part: str) -> None:
        """Fill a registry with one part."""
        self._parts[part](contestant)

    def file(self, name: str) -> Path:
        """A file of random bytes, made at the first call, the same in every run."""
        path = self._files / name
        if not path.exists():
            left, source = self.sizes_bytes.get(name, LARGE_BYTES), random.Random(name)
            with path.open("wb") as file:
                while left > 0:
                    left -= file.write(source.randbytes(min(left, _PIECE_BYTES)))
        return path

    def _hot(self, contestant: Contestant) -> None:
        self.digests["hot"] = self._manifests(contestant, HOT, "-count", "1").digests["t0"]
        self._verify(contestant, HOT, "t0")

    def _cold(self, contestant: Contestant) -> None:
        self._manifests(contestant, COLD, "-count", str(self._scale.cold_tags))

    def _referrers(self, contestant: Contestant) -> None:
        load = self._manifests(contestant, REFERRERS, "-count", str(self._scale.referrers), "-about")
        self.digests["referrers-subject"] = load.digests["subject"]

    def _blobs(self, contestant: Contestant) -> None:
        files = [self.file(name) for name in self.sizes_bytes]
        self.digests.update((file.name, _digest(file)) for file in files if file.name not in self.digests)
        names = ",".join(map(str, files))
        _checked(loadgen("push", *contestant.sign_in(), "-repository", BLOBS, "-files", names))
        self._verify(contestant, BLOBS, "latest")

    def _image(self, contestant: Contestant) -> None:
        size = ["-layers", str(IMAGE_LAYERS), "-layer-bytes", str(IMAGE_LAYER_BYTES)]
        _checked(loadgen("push", *contestant.sign_in(), "-repository", IMAGE, *size))
        self._verify(contestant, IMAGE, "latest")

    def _tags(self, contestant: Contestant) -> None:
        """Tags b00000, b00001, … on one manifest. All but the first are made where the registry keeps them: pushing
        each would take longer than all that is measured."""
        self._manifests(contestant, TAGS, "-count", "1")
        if isinstance(contestant, Portolan):
            contestant.manage(_PORTOLAN_TAGS.format(count=self._scale.listed_tags))
        elif isinstance(contestant, Distribution):
            tags = contestant.repositories / TAGS / "_manifests" / "tags"
            _copy_many(tags / "t0", [tags / f"b{number:06d}" for number in range(self._scale.listed_tags)])

    def _many(self, contestant: Contestant) -> None:
        """Repositories many/r00000, many/r00001, …"""
        self._manifests(contestant, f"{MANY}/first", "-count", "1")
        if isinstance(contestant, Portolan):
            contestant.manage(_PORTOLAN_REPOSITORIES.format(count=self._scale.listed_repositories))
        elif isinstance(contestant, Distribution):
            many = contestant.repositories / MANY
            _copy_many(many / "first", [many / f"r{number:05d}" for number in range(self._scale.listed_repositories)])

    def _manifests(self, contestant: Contestant, repository: str, *arguments: str) -> Load:
        return _checked(loadgen("manifests", *contestant.sign_in(), "-repository", repository, *arguments))

    def _verify(self, contestant: Contestant, repository: str, tag: str) -> None:
        """Pull what was pushed and compare every digest."""
        target = ["-repository", repository, "-tag", tag, "-verify"]
        _checked(loadgen("pull", *contestant.sign_in(), *target))
        self.pulls[contestant.name] = self.pulls.get(contestant.name, 0) + 1


_PORTOLAN_TAGS = f"""
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute('''
        INSERT INTO content_tag (repository_id, name, artifact_id)
        SELECT tag.repository_id, 'b' || lpad(number::text, 6, '0'), tag.artifact_id
        FROM content_tag AS tag JOIN content_repository AS repository ON repository.id = tag.repository_id,
             generate_series(0, {{count}} - 1) AS number
        WHERE repository.name = '{TAGS.partition("/")[2]}' AND tag.name = 't0'
    ''')
"""
_PORTOLAN_REPOSITORIES = f"""
from registry_core.content.models import Repository
first = Repository.objects.get(name='{MANY.partition("/")[2]}/first')
Repository.objects.bulk_create(
    Repository(project_id=first.project_id, name=f'{MANY.partition("/")[2]}/r{{{{number:05d}}}}')
    for number in range({{count}})
)
"""


def _checked(load: Load) -> Load:
    if load.errors:
        raise WrongContent(f"{load.errors} errors: {'; '.join(load.reasons)}")
    return load


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"


def _copy_many(source: Path, targets: list[Path]) -> None:
    """Copy a small folder many times, its files by links: the registry only reads them."""
    paths = sorted(path.relative_to(source) for path in source.rglob("*"))
    folders = [path for path in paths if (source / path).is_dir()]
    files = [path for path in paths if not (source / path).is_dir()]
    for target in targets:
        os.mkdir(target)
        for folder in folders:
            os.mkdir(target / folder)
        for file in files:
            _link_or_copy(source / file, target / file)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file has only so many names
        target.write_bytes(source.read_bytes())
