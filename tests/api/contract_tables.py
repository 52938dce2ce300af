"""What the contract says about requests and answers, as two small tables that the tests hold the registry to.

    python -m tests.api.contract_tables CONTRACT.yaml     writes both anew

- `contract_requests.json`: by operation the properties of its body, each with whether it must be there and with which
  rules (enumeration, pattern, smallest value).
- `contract_answers.json`: by GET operation the members that its answer always has. Go writes a member that is required,
  a list, a time, or marked so; the others are left out when they are empty.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

REQUESTS: Final = Path(__file__).with_name("contract_requests.json")
ANSWERS: Final = Path(__file__).with_name("contract_answers.json")
METHODS: Final = ("get", "put", "post", "delete", "patch", "head")
# What says no more than the type itself does.
_TRIVIAL: Final = (("pattern", "^[^\\x00]*$"), ("minimum", -(2**63)), ("minLength", 0))
_ROOT: Final = "/api/v2.0"

Document = dict[str, Any]


def load(path: Path) -> Document:
    """An OpenAPI or Swagger document."""
    found: Document = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 both are safe
    return found


def operations(document: Document) -> Iterator[tuple[str, Document]]:
    """The operations, `PUT /users/{}/sysadmin`, with their descriptions; shared parameters are among their own."""
    for path, item in document["paths"].items():
        name = re.sub(r"\{[^}]+\}", "{}", path.removeprefix(_ROOT)).rstrip("/") or "/"
        for method in METHODS:
            if method in item:
                parameters = [*item.get("parameters", []), *item[method].get("parameters", [])]
                yield f"{method.upper()} {name}", item[method] | {"parameters": parameters}


def requests(contract: Document) -> Document:
    """The table of requests."""
    table = {}
    for name, operation in operations(contract):
        properties = {
            property_: [property_ in part.get("required", []), rules(contract, schema)]
            for part in parts(contract, _body(contract, operation))
            for property_, schema in part["properties"].items()
        }
        if properties:
            table[name] = properties
    return table


def answers(contract: Document) -> Document:
    """The table of answers: by operation the tree of what is always there."""
    table = {}
    for name, operation in operations(contract):
        schema = follow(contract, operation.get("responses", {}).get("200", {})).get("schema", {})
        if name.startswith("GET ") and (tree := _always(contract, schema)):
            table[name] = tree
    return table


def stricter(schema: Document, wanted: Document) -> list[str]:
    """Where a schema of ours is stricter about requests than the table: a line for each property."""
    found = []
    for name, operation in operations(schema):
        if name not in wanted or operation.get("x-not-implemented"):
            continue
        for part in parts(schema, _body(schema, operation)):
            for property_, described in part["properties"].items():
                if property_ in wanted[name] and (
                    complaints := _complaints(schema, part, property_, described, *wanted[name][property_])
                ):
                    found.append(f"{name}: {property_}: {', '.join(complaints)}")
    return found


def _complaints(
    schema: Document, part: Document, name: str, described: Document, is_needed: bool, allowed: Document
) -> list[str]:
    complaints = []
    if name in part.get("required", []) and not is_needed:
        complaints.append("required")
    if not is_needed and not _takes_null(schema, described):
        complaints.append("null refused")
    return complaints + [f"{rule} {value}" for rule, value in rules(schema, described).items() if rule not in allowed]


def follow(document: Document, node: Any) -> Document:
    """The node that a reference means."""
    while isinstance(node, dict) and "$ref" in node:
        target: Any = document
        for part in node["$ref"].lstrip("#/").split("/"):
            target = target[part]
        node = target
    return node or {}


def parts(document: Document, schema: Any) -> Iterator[Document]:
    """The object schemas that a schema is made of."""
    schema = follow(document, schema)
    for key in ("allOf", "oneOf", "anyOf"):
        for part in schema.get(key, []):
            yield from parts(document, part)
    if "items" in schema:
        yield from parts(document, schema["items"])
    if schema.get("properties"):
        yield schema


def rules(document: Document, schema: Any) -> Document:
    """What a schema asks of a value besides its type."""
    schema = follow(document, schema)
    found = {rule: schema[rule] for rule in ("enum", "pattern", "minimum", "minLength") if rule in schema}
    return {rule: value for rule, value in found.items() if (rule, value) not in _TRIVIAL}


def _takes_null(document: Document, schema: Any) -> bool:
    schema = follow(document, schema)
    kinds = schema.get("type")
    return (
        not schema
        or bool(schema.get("nullable"))
        or kinds == "null"
        or (isinstance(kinds, list) and "null" in kinds)
        or any(_takes_null(document, part) for key in ("oneOf", "anyOf") for part in schema.get(key, []))
    )


def _body(document: Document, operation: Document) -> Any:
    for parameter in operation["parameters"]:
        parameter = follow(document, parameter)
        if parameter.get("in") == "body":
            return parameter.get("schema", {})
    content = follow(document, operation.get("requestBody", {})).get("content", {})
    return next((media.get("schema", {}) for media in content.values()), {})


def _always(contract: Document, schema: Any) -> Document:
    """The members that are always there, by name, each with those within it; a list stands for its items.

    A member that may be left out is in the table when something within it may not: under its name with a `?`.
    """
    schema = follow(contract, schema)
    if "items" in schema:
        return _always(contract, schema["items"])
    tree: Document = {}
    for name, described in schema.get("properties", {}).items():
        inner = _always(contract, described)
        if _is_always_there(contract, schema, name, described):
            tree[name] = inner
        elif inner:
            tree[f"{name}?"] = inner
    return tree


def _is_always_there(contract: Document, schema: Document, name: str, described: Document) -> bool:
    meant = follow(contract, described)
    omits = described.get("x-omitempty", meant.get("x-omitempty"))
    if name in schema.get("required", []) or omits is False:
        return True
    if omits or described.get("x-nullable", meant.get("x-nullable")):
        return False
    return meant.get("type") == "array" or meant.get("format") == "date-time"


if __name__ == "__main__":
    given = load(Path(sys.argv[1]))
    for path, table in ((REQUESTS, requests(given)), (ANSWERS, answers(given))):
        lines = [f"{json.dumps(name)}: {json.dumps(table[name], sort_keys=True)}" for name in sorted(table)]
        path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
