"""What schemathesis is told beside the contract (loaded by it through SCHEMATHESIS_HOOKS).

Most of what it makes up does not exist. So three of four requests name what is there: FUZZ_VALUES, as JSON, gives for
each name of a path's parameter what to put in its place. Deletes name only what is made up, and nobody switches off
the server or himself.
"""

from __future__ import annotations

import itertools
import json
import os
from typing import Any, Final

import schemathesis

VALUES: Final[dict[str, str]] = json.loads(os.environ.get("FUZZ_VALUES", "{}"))
# Settings after which the next caller would meet another kind of server.
LOCKS_OUT: Final = frozenset(
    {"auth_mode", "primary_auth_mode", "read_only", "robot_name_prefix", "project_creation_restriction"}
)
# Where an answer may differ from the contract: the definition, what holds there instead, and why.
EXCEPTIONS: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "ExtraAttrs": (
        {"type": "object", "additionalProperties": True},
        "the values of an image are texts (architecture, os, created), and clients read them so; objects are a few",
    ),
}
# Lists of which Harbor, too, answers null when nothing is in them or they were not asked for.
NULLABLE: Final = {"Artifact": ("references", "tags", "labels", "accessories")}
_turn = itertools.count()


@schemathesis.hook
def map_case(_context: Any, case: Any) -> Any:
    """Put what is there in the place of what was made up."""
    if case.method.upper() != "DELETE" and next(_turn) % 4:
        for name in case.path_parameters or {}:
            if name in VALUES:
                case.path_parameters[name] = VALUES[name]
    return case


@schemathesis.hook
def filter_case(_context: Any, case: Any) -> bool:
    """Leave out what would end the run: settings that lock out, and changes of the accounts that are used."""
    if case.path == "/configurations" and case.method.upper() == "PUT":
        return not (isinstance(case.body, dict) and LOCKS_OUT & case.body.keys())
    if case.path.startswith("/users/{user_id}") and case.method.upper() != "GET":
        return str((case.path_parameters or {}).get("user_id")) == VALUES.get("user_id")
    return True


@schemathesis.hook
def before_load_schema(_context: Any, schema: dict[str, Any]) -> None:
    """Put the exceptions in the place of what the contract says; all else of those answers is still held to it."""
    for name, (definition, _reason) in EXCEPTIONS.items():
        schema["definitions"][name] = definition
    for name, properties in NULLABLE.items():
        for each in properties:
            schema["definitions"][name]["properties"][each]["x-nullable"] = True
