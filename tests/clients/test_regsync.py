"""regsync: many repositories with one token for all of them, to which each new one is added."""

import json
from pathlib import Path

import pytest

from tests.clients.doors import Registry
from tests.clients.programs import Client, House
from tests.support.layouts import Layout

TARGETS = 130


@pytest.mark.usefixtures("signed_in")
def test_a_mirror_of_130_repositories_is_whole(
    regsync: Client, crane: Client, registry: Registry, house: House, layout: Layout, tmp_path: Path, unique: str
) -> None:
    source = house.private_reference(f"{unique}:1")
    crane.must("push", str(layout.folder), source)
    targets = [house.other_reference(f"{unique}-{number:03}:1") for number in range(TARGETS)]
    config = {
        "version": 1,
        "creds": [{
            "registry": registry.host, "user": house.owner.name, "pass": house.owner.password,
            "tls": "enabled" if registry.is_tls else "disabled",
        }],
        "defaults": {"parallel": 4},
        "sync": [{"source": source, "target": target, "type": "image"} for target in targets],
    }  # fmt: skip
    (tmp_path / "regsync.yml").write_text(json.dumps(config))

    outcome = regsync("once", "--config", str(tmp_path / "regsync.yml"))

    assert outcome.is_success, outcome.text
    assert "unauthorized" not in outcome.text
    digests = {crane.must("digest", target).stdout.strip() for target in (targets[0], targets[100], targets[-1])}
    assert digests == {layout.digest("new")}
    assert regsync("check", "--config", str(tmp_path / "regsync.yml")).is_success
