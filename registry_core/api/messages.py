"""Request and response messages: msgspec structs, which are parser, type and schema in one.

A request's struct has the fields that a client may set; other members are ignored. Null means absent, because clients
written in Go send null for unset fields. An answer's struct omits fields that have their default, as the contract's
clients expect of absent values; a field that they always expect has no default.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

import msgspec
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from registry_core.errors import InvalidInput
from registry_core.http.cross_site import is_from_browser
from registry_core.json_limits import excess

T = TypeVar("T")
Text = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]*$")]
ShortText = Annotated[str, msgspec.Meta(max_length=255, pattern=r"^[^\x00]*$")]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Time = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
PARAMETER_MAX: Final = 8192
_OF_FORMS: Final = frozenset({"text/plain", "multipart/form-data"})
NEVER: Final = "0001-01-01T00:00:00.000Z"


class Body(msgspec.Struct, kw_only=True):
    """Base of request messages. A field without a default is required; one with a default may be null."""


class Answer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Base of response messages. A field that has its default is omitted."""


def parse_body(request: Request, form: type[T]) -> T:
    """The request's body as a `form`. Raises InvalidInput, which names the wrong field, or UnsupportedMediaType for a
    body that is not declared as JSON."""
    content = request.body
    if content:
        _demand_json(request)
    content = content or b"{}"
    if too_much := excess(content):
        raise InvalidInput(f"the request's body has {too_much}: send it in several requests")
    try:
        if not issubclass(form, Body):
            return msgspec.json.decode(content, type=form)
        return msgspec.convert(_without_nulls(msgspec.json.decode(content)) or {}, form)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the request's body is invalid: {error}") from None
    except RecursionError:
        raise InvalidInput("the request's body is nested too deeply") from None


def _without_nulls(value: Any) -> Any:
    """The value without object members that are null."""
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _demand_json(request: Request) -> None:
    """A page of another site can make a browser send a form without a preflight request, but not JSON. Other clients
    may send any content type, or none, except those of forms."""
    given = str(request.META.get("CONTENT_TYPE", "")).partition(";")[0].strip().lower()
    if given in {"", "application/json"} or given.endswith("+json"):
        return
    if given in _OF_FORMS or is_from_browser(request.headers):
        raise UnsupportedMediaType(given, "send the body as JSON, with the header Content-Type: application/json")


def parameters_of(request: Request) -> dict[str, str]:
    """The parameters of the query string, the last of each name. Raises InvalidInput for text that no column can
    store."""
    given = request.query_params.dict()
    for name, value in given.items():
        if "\x00" in value:
            raise InvalidInput("a parameter contains the character NUL")
        if len(value) > PARAMETER_MAX:
            raise InvalidInput(f"the parameter {name[:40]} has at most {PARAMETER_MAX} characters")
    return given


def api_time(moment: datetime) -> Time:
    """A time as the API writes it: RFC 3339 in UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonRenderer(BaseRenderer):
    """Structs, and lists of them, as JSON."""

    media_type = "application/json"
    format = "json"
    charset = None
    render_style = "binary"

    def render(self, data: Any, _accepted_media_type: str | None = None, _context: Any = None) -> bytes:
        """The JSON; empty for no content."""
        return b"" if data is None else msgspec.json.encode(data)
