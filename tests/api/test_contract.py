"""The schema that the registry publishes, held against the contract where that lies beside the clone.

How much of the contract is there is kept in `contract_counts.json`, and may only improve.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import call_command

CONTRACT = Path(__file__).parents[1] / "contract"
COUNTS = Path(__file__).with_name("contract_counts.json")
# fmt: off
COMPLETE_TAGS = frozenset([
    "project", "member", "user", "usergroup", "label", "robot", "permissions", "repository", "artifact", "icon",
    "quota", "search", "statistic", "systeminfo", "health", "ping", "configure", "auditlog", "projectMetadata",
    "immutable",
])
# fmt: on

Operation = tuple[str, str]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What `contract/check` says of our schema, without the operations that answer 501."""
    return check(CONTRACT, tmp_path_factory.mktemp("schema") / "schema.yaml")


def check(contract: Path, schema: Path) -> list[str]:
    """The lines of the contract's own check: what is missing, and last the counts."""
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(schema))
    schema.write_text(yaml.safe_dump(implemented(yaml.safe_load(schema.read_text()))))
    command = [sys.executable, str(contract / "check"), str(schema), "--most", "100000"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()


def implemented(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without the operations that say of themselves that they are not there."""
    for path, operations in schema["paths"].items():
        schema["paths"][path] = {
            method: described for method, described in operations.items() if "x-not-implemented" not in described
        }
    return schema


def test_nothing_is_missing_of_what_is_finished(report: list[str]) -> None:
    assert missing(report, CONTRACT) == []


def test_the_reach_of_the_contract_only_grows(report: list[str]) -> None:
    reached, recorded = counts(report[-1]), json.loads(COUNTS.read_text())
    assert {kind: reached[kind] - recorded[kind] for kind in recorded if reached[kind] < recorded[kind]} == {}
    assert reached == recorded, f"it grew: write {json.dumps(reached)} to {COUNTS.name}"


def missing(report: list[str], contract: Path) -> list[str]:
    """The lines of the report that concern finished tags."""
    tags = tags_of(contract)
    return [line for line in report[:-1] if tags[operation_in(line)] & COMPLETE_TAGS]


def counts(line: str) -> dict[str, int]:
    """How many of each kind are there, from the report's last line."""
    return {kind: int(good) for kind, good in re.findall(r"([a-z ]+?) (\d+)/\d+", line.replace(", ", ","))}


def tags_of(contract: Path) -> dict[Operation, set[str]]:
    """The tags of each operation of the contract."""
    return dict(_operations(yaml.safe_load((contract / "harbor-v2.0.yaml").read_text())))


def _operations(contract: dict[str, Any]) -> Iterator[tuple[Operation, set[str]]]:
    for path, operations in contract["paths"].items():
        for method, described in operations.items():
            if method != "parameters":
                yield operation(method, path), set(described["tags"])


def operation(method: str, path: str) -> Operation:
    """An operation as one can compare it: the names of the path's parameters do not matter."""
    return method.upper(), re.sub(r"\{[^}]*\}", "{}", path).rstrip("/")


def operation_in(line: str) -> Operation:
    """The operation that a line of the report is about."""
    found = re.search(r"\b(GET|PUT|POST|DELETE|PATCH|HEAD) (/\S*?):?(?=\s|$)", line)
    assert found is not None, line
    return operation(*found.groups())
