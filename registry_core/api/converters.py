"""What may stand in the addresses of the REST API where Django's own converters do not fit.

A slash in a repository's name comes encoded once or twice; the server has undone one level, so here it is `/` or `%2F`.
"""

from __future__ import annotations

from django.urls import register_converter


class RepositoryConverter:
    """A repository's name without its project, slashes included."""

    regex = r"[^/].*?"

    def to_python(self, value: str) -> str:
        """As it came: the view undoes what is left of the encoding."""
        return value

    def to_url(self, value: str) -> str:
        """As it is."""
        return value


class LastRepositoryConverter(RepositoryConverter):
    """A repository's name with nothing behind it: what is in the repository has addresses of its own."""

    regex = r"(?!.*/artifacts(?:/|$))[^/].*"


def register() -> None:
    """Make the converters known to `path()`."""
    register_converter(RepositoryConverter, "repository")
    register_converter(LastRepositoryConverter, "last_repository")
