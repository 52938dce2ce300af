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
# By operation: why an answer may differ from the contract there.
EXCEPTIONS: Final[dict[str, str]] = {}
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
def filter_failure(_context: Any, _failure: Any, case: Any, _response: Any) -> bool:
    """Whether a failure counts."""
    return case.operation.label not in EXCEPTIONS
