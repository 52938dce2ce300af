"""The OCI's own conformance program, with every API and every kind of data that it knows switched on."""

import os
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.support.people import create_project
from tests.support.server import Server
from tests.support.tools import Outcome, run, tool

# What the program leaves out by default, because the specification leaves it open to a registry.
OPTIONAL = {
    "OCI_API_BLOBS_DIGEST_HEADER": "true",
    "OCI_API_BLOBS_UPLOAD_CANCEL": "true",
    "OCI_API_MANIFESTS_DIGEST_HEADER": "true",
    "OCI_API_MANIFESTS_TAG_PARAM": "true",
    "OCI_DATA_SPARSE": "true",
}

# Cases that may be skipped, each with its reason: the end of the case's name → why.
ALLOWED_SKIPS: dict[str, str] = {}


@dataclass(frozen=True)
class Case:
    name: str
    status: str
    message: str


@pytest.mark.slow
@pytest.mark.parametrize("version", ["1.1", "dev"])
def test_every_case_of_the_oci_conformance_suite_passes(
    server: Server, tmp_path: Path, unique: str, version: str
) -> None:
    create_project(server, unique, allows_sparse_manifests=True)

    outcome = _run_suite(server, project=unique, version=version, results=tmp_path)

    cases = _read_cases(tmp_path / "junit.xml", outcome)
    assert not _lines(case for case in cases if case.status not in {"passed", "skipped"})
    assert not _lines(case for case in cases if case.status == "skipped" and not _may_be_skipped(case))
    assert outcome.is_success, outcome.text
    assert _verdicts(tmp_path / "results.yaml") == {"apis": {"Pass": 28}, "data": {"Pass": 24}}


def _run_suite(server: Server, *, project: str, version: str, results: Path) -> Outcome:
    environment = {
        "PATH": os.environ["PATH"],
        "OCI_CONFIGURATION": os.devnull,
        "OCI_RESULTS_DIR": str(results),
        "OCI_VERSION": version,
        "OCI_TLS": "disabled",
        "OCI_REGISTRY": server.host,
        "OCI_REPO1": f"{project}/repo1",
        "OCI_REPO2": f"{project}/repo2",
        "OCI_USERNAME": "admin",
        "OCI_PASSWORD": server.admin_password,
        **OPTIONAL,
    }
    return run(tool("conformance"), env=environment, timeout_s=300)


def _read_cases(junit: Path, outcome: Outcome) -> list[Case]:
    assert junit.exists(), outcome.text
    return [_case(element) for element in ElementTree.parse(junit).iter("testcase")]  # noqa: S314 - made just above


def _verdicts(results: Path) -> dict[str, dict[str, int]]:
    """How many APIs and kinds of data got which verdict: one that was not tried is neither failed nor skipped."""
    document = yaml.safe_load(results.read_text())
    return {part: dict(Counter(document[part].values())) for part in ("apis", "data")}


def _case(element: ElementTree.Element) -> Case:
    message = next((child.get("message") or child.text or "" for child in element if child.tag != "system-err"), "")
    return Case(name=element.get("name", ""), status=element.get("status", ""), message=message)


def _may_be_skipped(case: Case) -> bool:
    return any(case.name.endswith(name) for name in ALLOWED_SKIPS)


def _lines(cases: Iterable[Case]) -> list[str]:
    return [f"{case.name}: {case.status} {case.message}".rstrip() for case in cases]
