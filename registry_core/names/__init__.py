"""Names of projects, repositories, tags and references: their grammar only.

The grammar of OCI distribution-spec 1.1, "Pulling manifests" (`<name>` and `<reference>`). The first element of a
repository's full name is its project.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from registry_core.caches import cached
from registry_core.digests import Digest

NAME_MAX: Final = 255
PROJECT_NAME: Final = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_ELEMENT: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY: Final = re.compile(rf"{_ELEMENT}(?:/{_ELEMENT})*")
_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")


class InvalidName(ValueError):
    """Not a valid name; the message describes valid names."""


@dataclass(frozen=True, slots=True)
class RepositoryName:
    """A repository's full name, split where its project ends: `library/a/b` is `library` and `a/b`."""

    project: str
    path: str

    @classmethod
    @cached("repository names", share=1 / 32, entry_bytes=1024, longest=NAME_MAX)
    def parse(cls, text: str) -> RepositoryName:
        """The name in `text`. Raises InvalidName."""
        if len(text) > NAME_MAX:
            raise InvalidName(f"a repository name has at most {NAME_MAX} characters")
        if _REPOSITORY.fullmatch(text) is None:
            raise InvalidName(
                "a repository name has lower-case letters and digits with single . _ or - between them, "
                "and its elements are separated by /"
            )
        project, slash, path = text.partition("/")
        if not slash:
            raise InvalidName(f"{text!r} names no project: use <project>/{text}, for example library/{text}")
        return cls(project, path)

    def __str__(self) -> str:
        return f"{self.project}/{self.path}"


def is_tag(text: str) -> bool:
    """Whether `text` is a tag (OCI distribution-spec, at most 128 characters)."""
    return _TAG.fullmatch(text) is not None


def parse_reference(text: str) -> str | Digest:
    """A tag as text, or a digest. Raises DigestError or InvalidName."""
    if ":" in text:
        return Digest.parse(text)
    if not is_tag(text):
        raise InvalidName("a tag has at most 128 letters, digits, _ . and -, and does not begin with . or -")
    return text
