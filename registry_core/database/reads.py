"""A time limit for reads by REST and the console: Postgres cancels longer statements, and the client gets 503.

Changes have no limit: they wait for locks that other transactions release. Behind a transaction pooler the limit can be
neither an option of the connection nor a setting of the session, which other clients would inherit; there it is set for
a transaction that contains all statements of a request. So it is until the first connection has shown whether a pooler
is there that the configuration does not name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse

from registry_core.config import get_config

READING: Final = frozenset({"GET", "HEAD"})


class ReadLimitMiddleware:
    """Runs requests that change nothing under the limit `read_timeout_s`. The outermost middleware, because sessions
    are read too."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer, by the views."""
        if request.method not in READING:
            return self.get_response(request)
        with limited_reads():
            return self.get_response(request)


@contextmanager
def limited_reads() -> Iterator[None]:
    """Run the statements of the block under the limit; none if it is 0."""
    config = get_config()
    if config.read_timeout_s and (config.database_direct_url is not None or _may_be_pooled()):
        with _limited_transaction(config.read_timeout_s * 1000):
            yield
        return
    connection.statement_limit_ms = config.read_timeout_s * 1000  # type: ignore[attr-defined]
    try:
        yield
    finally:
        connection.statement_limit_ms = 0  # type: ignore[attr-defined]


def _may_be_pooled() -> bool:
    return connection.is_behind_pooler is not False  # type: ignore[attr-defined]


@contextmanager
def _limited_transaction(limit_ms: int) -> Iterator[None]:
    """Begins with the first statement of the block: a request without statements does not wait for the database."""
    has_begun = False
    with ExitStack() as begun:

        def begin(execute: Callable[..., Any], *arguments: Any) -> Any:
            nonlocal has_begun
            if not has_begun:
                has_begun = True
                begun.enter_context(transaction.atomic())
                with connection.cursor() as cursor:
                    cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(limit_ms)])
            return execute(*arguments)

        with connection.execute_wrapper(begin):
            yield
