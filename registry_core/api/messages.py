"""The form of what comes in and goes out: msgspec structs, which are parser, type and schema in one.

A request's struct holds what a client may set and nothing else: whatever else it sends is not looked at. Null means
absent, as clients written in Go send null for what they have not set. An answer's struct leaves out what has its
default, as the contract's clients expect of absent values; a field that they always look for has none.
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
    """Base of what a client sends. A field without a default must be there; one with a default may be null."""


class Answer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Base of what a client gets. A field with a default is left out while it has it."""


def parse_body(request: Request, form: type[T]) -> T:
    """The request's body as a `form`. Raises InvalidInput, which names the field that is wrong, or
    UnsupportedMediaType for a body that is not said to be JSON."""
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
        raise InvalidInput(f"the request's body is not what is expected here: {error}") from None
    except RecursionError:
        raise InvalidInput("the request's body is nested too deeply") from None


def _without_nulls(value: Any) -> Any:
    """The value without the members of objects that are null."""
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _demand_json(request: Request) -> None:
    """A page of another site can have a browser send a form, without asking, but not JSON. Other clients may say what
    they like, or nothing, but for the types that only a form has."""
    given = str(request.META.get("CONTENT_TYPE", "")).partition(";")[0].strip().lower()
    if given in {"", "application/json"} or given.endswith("+json"):
        return
    if given in _OF_FORMS or is_from_browser(request.headers):
        raise UnsupportedMediaType(given, "send the body as JSON, with the header Content-Type: application/json")


def parameters_of(request: Request) -> dict[str, str]:
    """The query string's parameters, the last of each name. Raises InvalidInput for text that no column can hold."""
    given = request.query_params.dict()
    for name, value in given.items():
        if "\x00" in value:
            raise InvalidInput("a parameter contains the character NUL")
        if len(value) > PARAMETER_MAX:
            raise InvalidInput(f"the parameter {name[:40]} has at most {PARAMETER_MAX} characters")
    return given


def api_time(moment: datetime) -> Time:
    """A moment as the API writes it: RFC 3339 in UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonRenderer(BaseRenderer):
    """Structs, and lists of them, as JSON."""

    media_type = "application/json"
    format = "json"
    charset = None
    render_style = "binary"

    def render(self, data: Any, _accepted_media_type: str | None = None, _context: Any = None) -> bytes:
        """The JSON; nothing where there is nothing to say."""
        return b"" if data is None else msgspec.json.encode(data)
