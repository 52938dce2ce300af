"""A request that stalls for longer than its lease, while another one takes its upload over and finishes it."""

import httpx

from tests.support.people import admin, create_project
from tests.support.registry import digest_of, push_blob, sign_in
from tests.support.server import Server

# The late request's clock is set back: a test does not wait for a lease to run out.
_STALL = """
from django.db import connection
from rbac.models import User
from registry_core.access import Cause, Subject, SubjectKind, of_system
from registry_core.content import upload_rows, uploads
from registry_core.content.errors import UploadBusy
from registry_core.content.models import Project
from registry_core.content.repositories import ProjectRef, ensure_repository, nothing_to_ask
from registry_core.digests import Digest
from registry_core.names import RepositoryName
project = Project.objects.get(name={project!r})
repository = ensure_repository(
    project=ProjectRef(project.pk, project.name, False, False), name=RepositoryName.parse({repository!r}),
    cause=of_system("test"), ask_for_content=nothing_to_ask,
)
by = Subject(SubjectKind.USER, User.objects.get(username="admin").pk, "admin")
token = uploads.start_upload(repository=repository, cause=Cause(by, "", "client", "test")).token
late = uploads.claim_upload(repository=repository, by=by, token=token)
late._saved_at_s -= 2 * upload_rows.LEASE_S
with connection.cursor() as cursor:
    cursor.execute("UPDATE content_upload SET writer_until = now() - interval '1 second' WHERE token = %s", [token])
next_one = uploads.claim_upload(repository=repository, by=by, token=token)
next_one.write(b"what was pushed")
next_one.commit(Digest.of(b"what was pushed"))
try:
    late.write(b"something else!")
    late.commit(Digest.of(b"something else!"))
except UploadBusy:
    print("refused")
late.end_after(UploadBusy("it was taken over"))
"""


def test_request_that_stalled_cannot_change_the_blob_that_another_one_made(server: Server, unique: str) -> None:
    create_project(server, unique)
    repository = f"{unique}/app"
    headers = sign_in(server, admin(server), f"repository:{repository}:pull,push")
    with httpx.Client(base_url=server.url, headers=headers, follow_redirects=True) as client:
        push_blob(client, repository, b"first")
        assert server.manage(_STALL.format(project=unique, repository=repository)) == "refused\n"
        answer = client.get(f"/v2/{repository}/blobs/{digest_of(b'what was pushed')}")
    assert answer.content == b"what was pushed"
