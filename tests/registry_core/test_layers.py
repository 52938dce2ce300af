"""What a module names in a string follows the same direction as what it imports: checkers of imports do not see it."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("registry_core", "projects", "rbac", "replication", "scanning", "frontend")
_DOTTED = re.compile(rf"(?:{'|'.join(PACKAGES)})(?:\.[a-z_]\w*)+")
SEPARATORS = re.compile(r"[|:\s]+")


def layers() -> dict[str, int]:
    """The height of each package: that of pyproject.toml's contracts, the apps above the registry's own packages."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    apps, inside = (contract["layers"] for contract in contracts)
    own = [{f"registry_core.{name}" for name in SEPARATORS.split(layer)} for layer in inside]
    upper = [set(SEPARATORS.split(layer)) for layer in apps[1:-1]]
    order = [own[0], *upper, *own[1:]]
    return {name: -number for number, names in enumerate(order) for name in names}


def package_of(module: str) -> str:
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "registry_core" else parts[0]


def modules_in_strings() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "migrations" in path.parts:
                continue
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and _DOTTED.fullmatch(node.value):
                    yield module, node.value


def is_module(name: str) -> bool:
    """Whether the string names a module, or something in one."""
    head = name
    while "." in head:
        path = ROOT.joinpath(*head.split("."))
        if path.is_dir() or path.with_suffix(".py").is_file():
            return True
        head = head.rpartition(".")[0]
    return False


def test_no_string_names_a_module_of_a_layer_above() -> None:
    height = layers()
    found = [(module, name) for module, name in modules_in_strings() if is_module(name)]
    assert len(found) > 20
    up = [f"{module} names {name}" for module, name in found if height[package_of(name)] > height[package_of(module)]]
    assert up == []


def test_the_root_of_the_registry_holds_its_vocabulary_alone() -> None:
    loose = [path.stem for path in (ROOT / "registry_core").glob("*.py") if path.stem != "__init__"]
    assert len(loose) <= 8, loose
    assert find_spec("registry_core.wiring") is not None
