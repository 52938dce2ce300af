"""Policies in a server under test: a package that is found by its entry point, as that of a third party is."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
ENTRY_POINT: Final = "[portolan.policies]\n{name} = {target}\n"


def with_policies(folder: Path, name: str, target: str) -> dict[str, str]:
    """The environment of a server that loads the policies of `target` (`module:function`); `folder` is for the
    package."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINT.format(name=name, target=target))
    return {"PYTHONPATH": f"{folder}:{ROOT}", "TEST_POLICY_FOLDER": str(folder)}
