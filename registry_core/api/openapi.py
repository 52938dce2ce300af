"""How views describe themselves for `/api/v2.0/openapi.json`: operations, and structs as schemas.

Here descriptions are only recorded. `registry_core.api.openapi_generator` builds the schema on the first request for
it: its imports, and a class per operation, take 5 MiB, and the schema is rarely requested.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from registry_core.api.messages import Body

V = TypeVar("V", bound=Callable[..., Any])
Options = Callable[[], Mapping[str, Any]]
"""Makes the arguments for drf-spectacular's `extend_schema`."""

OPTIONS: Final = "openapi_options"
"""The attribute of a view's method that holds its `Options`."""

REF: Final = "#/components/schemas/{name}"
_components: dict[str, dict[str, Any]] = {}
_types: dict[str, Any] = {}


class Error(msgspec.Struct, frozen=True):
    """One error."""

    code: str
    message: str


class Errors(msgspec.Struct, frozen=True):
    """The body of every answer that is an error."""

    errors: list[Error]


def query(name: str, description: str, kind: Any = str, *, required: bool = False, default: Any = None) -> Any:
    """A parameter of the query string."""
    return OpenApiParameter(name, kind, OpenApiParameter.QUERY, required, description, default=default)


def header(name: str, description: str, kind: Any = str) -> Any:
    """A request header that the operation looks at."""
    return OpenApiParameter(name, kind, OpenApiParameter.HEADER, False, description)


Q_PARAMETER: Final = query("q", "Filter: key=value, key=~part, key=[min~max], key={a b}, key=(a b).")
SORT: Final = query("sort", "Columns to sort by, separated by commas; a leading minus: descending.")
PAGE: Final = query("page", "Which page, from 1.", int, default=1)
PAGE_SIZE: Final = query(
    "page_size",
    "Rows per page, at most 100. 0 or -1: all, up to the limit of one answer (1,000; 100 without authentication); "
    "if there are more, `Link: next` has the next page.",
    int,
    default=10,
)
CURSOR: Final = query("cursor", "Where the page begins: taken from `Link: next` of the previous page.")
PAGED: Final = (Q_PARAMETER, SORT, PAGE, PAGE_SIZE, CURSOR)
IS_NAME: Final = header("X-Is-Resource-Name", "true: the project in the URL is a name, even if it is a number.", bool)

_ERRORS: Final = {
    400: "A value is invalid; the message names it.",
    401: "Authentication is required, or the credentials are wrong.",
    403: "The caller lacks permission, or may not know whether it exists.",
    404: "Not found.",
    409: "It already exists, or was changed meanwhile.",
    412: "Something else must be done first.",
    429: "Too many requests of this client, or in all: try again after the seconds in Retry-After.",
    503: "A part of the registry is unavailable: try again after the seconds in Retry-After.",
    413: "The body is too large.",
    422: "The page is not a number, or is too large.",
}


def operation(
    operation_id: str,
    tag: str,
    *,
    parameters: Sequence[Any] = (),
    body: Any = None,
    answer: Any = None,
    status: int = 200,
    media_type: str = "application/json",
    errors: Iterable[int] = (400, 401, 403, 404),
) -> Callable[[V], V]:
    """Describe a view's method: `body` and `answer` are structs, lists of structs, or other types that msgspec
    supports."""

    def options() -> Mapping[str, Any]:
        responses: dict[Any, Any] = {code: OpenApiResponse(schema_of(Errors), _ERRORS[code]) for code in errors}
        responses[(status, media_type) if answer is not None else status] = (
            OpenApiResponse(description="Done.") if answer is None else _described(answer)
        )
        return {
            "operation_id": operation_id,
            "tags": [tag],
            "parameters": list(parameters),
            "request": None if body is None else {"application/json": schema_of(body)},
            "responses": responses,
        }

    return described(options)


def described(options: Options) -> Callable[[V], V]:
    """Describe a view's method by the result of `options`, which is called when the schema is built."""

    def note(method: V) -> V:
        setattr(method, OPTIONS, options)
        return method

    return note


def schema_of(type_: Any) -> dict[str, Any]:
    """The schema of a type; structs in it become components. Raises TypeError if two structs share a name."""
    (schema,), components = msgspec.json.schema_components([type_], ref_template=REF)
    forms = {form.__name__ for form in _subclasses(Body)}
    for name, described in components.items():
        component = _with_nulls(described) if name in forms else described
        if _components.setdefault(name, component) != component:
            raise TypeError(f"two different structs are named {name}: rename one, names are unique in a schema")
    return schema


def _subclasses(base: type[Body]) -> Iterator[type[Body]]:
    for subclass in base.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def _with_nulls(form: dict[str, Any]) -> dict[str, Any]:
    """The schema of a request message: optional fields may be null."""
    required = form.get("required", ())
    properties = {
        name: schema if name in required or _takes_null(schema) else {"anyOf": [schema, {"type": "null"}]}
        for name, schema in form.get("properties", {}).items()
    }
    return form | {"properties": properties}


def _takes_null(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "null" or any(_takes_null(part) for part in schema.get("anyOf", ()))


def _described(answer: Any) -> Any:
    return OpenApiTypes.STR if answer is str else OpenApiTypes.BINARY if answer is bytes else schema_of(answer)


def add_components(result: dict[str, Any], **_kwargs: Any) -> dict[str, Any]:
    """Postprocessing of the schema: add the structs to the components."""
    schemas: dict[str, Any] = result.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(sorted(_components.items()))
    return result
