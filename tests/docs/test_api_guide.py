"""The commands of docs/api-guide.md and docs/policies.md do what the page says, from its first to its last."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ServerFactory
from tests.support.jobs import audit_log_written
from tests.support.server import Server

DOCS = Path(__file__).parents[2] / "docs"
_FENCE = re.compile(r"^```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = "=== next ==="
ANYTHING = "…"


@dataclass
class Step:
    """A block of commands and the output that the page states below it, where it does."""

    commands: str
    output: str | None = None


def steps(page: str) -> list[Step]:
    found: list[Step] = []
    for kind, text in _FENCE.findall((DOCS / page).read_text()):
        if kind == "sh":
            found.append(Step(text))
        else:
            found[-1].output = text
    return found


@pytest.fixture(scope="module")
def registry(start_server: ServerFactory) -> Server:
    """A new one, as the reader has it."""
    return start_server()


@pytest.mark.parametrize(("page", "steps_min"), [("api-guide.md", 20), ("policies.md", 3)])
def test_the_guide_is_true(registry: Server, tmp_path: Path, page: str, steps_min: int) -> None:
    told = steps(page)
    script = "set -euo pipefail\n" + "".join(f"{step.commands}\necho '{_MARK}'\n" for step in told)
    environment = {
        "PATH": os.environ["PATH"], "REGISTRY": registry.url, "ADMIN": f"admin:{registry.admin_password}",
        "LC_ALL": "C.UTF-8",
    }  # fmt: skip
    with audit_log_written(registry):
        done = subprocess.run(
            ["bash", "-c", script],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    outputs = done.stdout.split(f"{_MARK}\n")
    wrong = [
        f"{step.commands}\ngave\n{output}\nnot\n{step.output}"
        for step, output in zip(told, outputs[:-1], strict=False)
        if step.output is not None and not _is_as_told(output, step.output)
    ]
    assert not wrong, "\n\n".join(wrong)
    failed = told[min(len(outputs) - 1, len(told) - 1)].commands
    assert done.returncode == 0, f"{failed}\nended with {done.returncode}\n{outputs[-1]}{done.stderr}"
    assert len(told) > steps_min


def _is_as_told(output: str, told: str) -> bool:
    pattern = ".*?".join(re.escape(part) for part in told.strip().split(ANYTHING))
    return re.fullmatch(pattern, output.strip(), re.DOTALL) is not None
