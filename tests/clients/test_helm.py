"""helm: signing in, charts as OCI artifacts, and the provenance that goes with them."""

import json
from pathlib import Path

import pytest

from tests.clients.programs import Client, House
from tests.support.people import Account

CONFIG = "application/vnd.cncf.helm.config.v1+json"
CHART = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"


@pytest.fixture
def chart(helm: Client, tmp_path: Path, unique: str) -> Path:
    """A packaged chart named after the test, version 0.1.0."""
    local = Client(helm.program, helm.environment)
    local.must("create", unique, folder=tmp_path)
    local.must("package", unique, folder=tmp_path)
    return tmp_path / f"{unique}-0.1.0.tgz"


def _login(helm: Client, house: House, account: Account) -> tuple[bool, str]:
    arguments = ("registry", "login", house.host, "--username", account.name, "--password-stdin")
    outcome = helm(*arguments, stdin=account.password)
    return outcome.is_success, outcome.text


def test_login_says_so_and_logout_forgets(helm: Client, house: House) -> None:
    is_in, shown = _login(helm, house, house.owner)

    assert is_in, shown
    assert "Login Succeeded" in shown
    logout = Client(helm.program, helm.environment)("registry", "logout", house.host)
    assert logout.is_success, logout.text


def test_login_with_a_wrong_password_is_refused(helm: Client, house: House, newcomer: Account) -> None:
    is_in, shown = _login(helm, house, Account(newcomer.name, "Not-the-password-1"))

    assert not is_in
    assert "unauthorized" in shown.lower(), shown


def test_a_chart_comes_back_the_same_after_a_login_by_helm(
    helm: Client, house: House, chart: Path, tmp_path: Path, unique: str
) -> None:
    assert _login(helm, house, house.owner)[0]
    parent = f"oci://{house.host}/{house.private}"

    push = helm("push", str(chart), parent)

    assert push.is_success, push.text
    assert f"Pushed: {house.host}/{house.private}/{unique}:0.1.0" in push.text
    (tmp_path / "pulled").mkdir()
    pull = helm("pull", f"{parent}/{unique}", "--version", "0.1.0", "--destination", str(tmp_path / "pulled"))
    assert pull.is_success, pull.text
    assert (tmp_path / "pulled" / chart.name).read_bytes() == chart.read_bytes()


@pytest.mark.usefixtures("signed_in")
def test_a_chart_is_an_artifact_of_helm_s_types(
    helm: Client, oras: Client, house: House, chart: Path, unique: str
) -> None:
    helm.must("push", str(chart), f"oci://{house.host}/{house.private}")

    manifest = json.loads(oras.must("manifest", "fetch", house.private_reference(f"{unique}:0.1.0")).stdout)

    assert manifest["config"]["mediaType"] == CONFIG
    assert [layer["mediaType"] for layer in manifest["layers"]] == [CHART]


@pytest.mark.usefixtures("signed_in")
def test_a_chart_is_shown_and_rendered_without_being_pulled_first(
    helm: Client, house: House, chart: Path, unique: str
) -> None:
    helm.must("push", str(chart), f"oci://{house.host}/{house.private}")
    reference = f"oci://{house.host}/{house.private}/{unique}"

    show = helm("show", "chart", reference, "--version", "0.1.0")
    template = helm("template", "release", reference, "--version", "^0.1.0")

    assert f"name: {unique}" in show.text
    assert template.is_success, template.text
    assert "kind: Deployment" in template.text


@pytest.mark.usefixtures("signed_in")
def test_a_version_with_build_metadata_becomes_a_tag(
    helm: Client, crane: Client, house: House, tmp_path: Path, unique: str
) -> None:
    """A tag has no plus sign: helm writes an underscore, and reads it back."""
    local = Client(helm.program, helm.environment)
    local.must("create", unique, folder=tmp_path)
    local.must("package", unique, "--version", "1.2.3+build.5", folder=tmp_path)

    helm.must("push", f"{unique}-1.2.3+build.5.tgz", f"oci://{house.host}/{house.private}", folder=tmp_path)

    assert crane.must("ls", house.private_reference(unique)).stdout.split() == ["1.2.3_build.5"]
    reference = f"oci://{house.host}/{house.private}/{unique}"
    assert helm("show", "chart", reference, "--version", "1.2.3+build.5").is_success


@pytest.mark.usefixtures("signed_in")
def test_a_chart_that_is_not_there_is_said_to_be_unknown(helm: Client, house: House, unique: str) -> None:
    pull = helm("pull", f"oci://{house.host}/{house.private}/{unique}", "--version", "0.1.0")

    assert not pull.is_success
    assert "not found" in pull.text, pull.text
