"""The Go SDK of the REST contract, unmodified: an administrator's day (tests/tools/harborclient) against a registry."""

from __future__ import annotations

import os

import httpx

from tests.support.jobs import audit_log_written
from tests.support.people import admin, create_project
from tests.support.registry import make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server
from tests.support.tools import run, tool

SEEN = """\
health: healthy
auth mode: db_auth
read only: false
banner: maintenance at noon
grantable: true true
user found: 1 true
user: Ann false
member: 1 maintainer
robot: +ci true
robot may: 1 2 project
new secret: true
repository: the application 1
artifact: 1 true IMAGE 2 released
copy: true
tags left: 1 v1
registries: 0 true
demoted: true true
all quotas: true
labels: true
robot enabled: true true
copied again: 2
quota: 1 -1 true
summary: 2 1073741824
metadata: true
search: 1 2
statistics: true true
audit log: true
project logs: true
deletable: false true
refused to delete: true
gone: true
"""


def test_the_go_sdk_does_a_day_of_an_administrator(server: Server, unique: str) -> None:
    program = tool("harborclient")
    create_project(server, unique)
    repository, image = f"{unique}/team/app", make_image(layer_bytes=512)
    headers = sign_in(server, admin(server), f"repository:{repository}:pull,push")
    with httpx.Client(base_url=server.url, headers=headers, timeout=30) as http:
        for blob in image.blobs:
            push_blob(http, repository, blob)
        put_manifest(http, repository, "v1", image)
    # The SDK's users encode the slash of a repository's name themselves, as its documentation says.
    arguments = [server.url, "admin", server.admin_password, unique, "team%2Fapp", image.digest]
    with audit_log_written(server):
        seen = run(program, *arguments, env={"PATH": os.environ["PATH"]})
    assert seen.is_success, seen.text
    assert seen.stdout == SEEN
