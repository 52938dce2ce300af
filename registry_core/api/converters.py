"""Path converters for the REST API where Django's own do not fit.

A slash in a repository's name arrives encoded once or twice; the server has decoded one level, so here it is `/` or
`%2F`.
"""

from __future__ import annotations

from django.urls import register_converter


class RepositoryConverter:
    """A repository's name without its project, including slashes."""

    regex = r"[^/].*?"

    def to_python(self, value: str) -> str:
        """Unchanged: the view decodes the rest."""
        return value

    def to_url(self, value: str) -> str:
        """Unchanged."""
        return value


class LastRepositoryConverter(RepositoryConverter):
    """A repository's name at the end of the URL: the content of the repository has URLs of its own."""

    regex = r"(?!.*/artifacts(?:/|$))[^/].*"


def register() -> None:
    """Register the converters with `path()`."""
    register_converter(RepositoryConverter, "repository")
    register_converter(LastRepositoryConverter, "last_repository")
