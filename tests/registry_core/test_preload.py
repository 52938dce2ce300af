"""What is imported before processes are forked, and what is not: all of them have it in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from registry_core.machine.imports import without

SELDOM_NEEDED = {"drf_spectacular.generators", "django.test", "unittest", "rich", "pygments", "requests", "psutil"}
NEEDED_AT_ONCE = {
    "argon2", "celery.worker.consumer", "celery.worker.strategy", "kombu.transport.redis", "projects.tasks",
    "registry_core.api.views", "registry_core.wiring.rsgi",
}  # fmt: skip


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The modules of a process that did what `portolan up` does before it forks."""
    program = (
        "import sys, registry_core.wiring.cli, registry_core.wiring.supervisor.up\n"
        "from registry_core.wiring.preload import preload\n"
        "preload(is_worker=True)\n"
        "print(*sys.modules)"
    )
    environment = os.environ | {
        "PORTOLAN_DATA": str(tmp_path_factory.mktemp("data")),
        "PORTOLAN_DATABASE_URL": "postgresql://nobody:none@127.0.0.1:1/none",
        "PORTOLAN_REDIS_URL": "redis://127.0.0.1:1/0",
    }
    command = [sys.executable, "-c", program]
    root = Path(__file__).parents[2]
    answer = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=True)
    return set(answer.stdout.split())


def test_what_is_seldom_needed_is_in_no_process(imported: set[str]) -> None:
    assert imported & SELDOM_NEEDED == set()


def test_what_each_process_needs_is_imported_for_all(imported: set[str]) -> None:
    assert imported >= NEEDED_AT_ONCE


def test_hidden_packages_are_found_again_afterwards() -> None:
    with without("wave"), pytest.raises(ModuleNotFoundError):
        import_module("wave")
    assert import_module("wave").__name__ == "wave"
