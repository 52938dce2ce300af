"""A long upload whose flushes to the disk take their time, or fail: its row never says more than the disk has."""

from __future__ import annotations

from tests.support.people import create_project
from tests.support.server import Server

# The flush of a file waits until the script lets it end. `step()` says what the upload's row says then.
_SLOW = """
import errno, os, threading
from django.db import connection
from rbac.models import User
from registry_core.access import Cause, Subject, SubjectKind, of_system
from registry_core.content import uploads
from registry_core.content.models import Project
from registry_core.content.repositories import ProjectRef, ensure_repository, nothing_to_ask
from registry_core.names import RepositoryName
from registry_core.storage.interface import StorageError
MIB = 1 << 20
project = Project.objects.get(name={project!r})
repository = ensure_repository(
    project=ProjectRef(project.pk, project.name, False, False), name=RepositoryName.parse({project!r} + "/app"),
    cause=of_system("test"), ask_for_content=nothing_to_ask,
)
by = Subject(SubjectKind.USER, User.objects.get(username="admin").pk, "admin")
token = uploads.start_upload(repository=repository, cause=Cause(by, "", "client", "test")).token
session = uploads.claim_upload(repository=repository, by=by, token=token)
may_end, is_broken, flush = threading.Event(), False, os.fdatasync
def slow_flush(descriptor):
    may_end.wait(30)
    if is_broken:
        raise OSError(errno.EIO, "it is broken")
    flush(descriptor)
os.fdatasync = slow_flush
def noted():
    with connection.cursor() as cursor:
        cursor.execute("SELECT offset_bytes / 1048576.0 FROM content_upload WHERE token = %s", [token])
        return float(cursor.fetchone()[0])
def write(mib):
    for _ in range(mib):
        session.write(bytes(MIB))
def end_flush():
    may_end.set()
    session._checkpoint.notes.exception(30)
"""
_NOTED = """
write(40)
print(noted())
end_flush()
write(1)
print(noted())
session.end_after(ConnectionError())
again = uploads.claim_upload(repository=repository, by=by, token=token)
print(again.offset_bytes / MIB)
again.write(b"the end")
from registry_core.digests import Digest
print(again.commit(Digest.of(bytes(41 * MIB) + b"the end")).size_bytes)
"""
_FAILED = """
write(40)
is_broken = True
end_flush()
try:
    write(1)
except StorageError as error:
    print(error)
    try:
        session.end_after(error)
    except StorageError:
        print(noted())
may_end.set()
is_broken = False
again = uploads.claim_upload(repository=repository, by=by, token=token)
print(again.offset_bytes)
again.discard()
"""
_TAKEN_OVER = """
write(40)
with connection.cursor() as cursor:
    cursor.execute("UPDATE content_upload SET writer_until = now() - interval '1 second' WHERE token = %s", [token])
next_one = uploads.claim_upload(repository=repository, by=by, token=token)
end_flush()
from registry_core.content.errors import UploadBusy
try:
    write(1)
except UploadBusy as error:
    session.end_after(error)
    print("refused at", noted())
next_one.discard()
"""


def test_the_row_says_what_is_flushed_and_no_more(server: Server, unique: str) -> None:
    create_project(server, unique)
    said = server.manage(_SLOW.format(project=unique) + _NOTED).split()
    assert said == ["0.0", "32.0", "41.0", str((41 << 20) + 7)]


def test_a_flush_that_fails_behind_the_writer_is_told_and_its_bytes_do_not_count(server: Server, unique: str) -> None:
    create_project(server, unique)
    said = server.manage(_SLOW.format(project=unique) + _FAILED).splitlines()
    assert said == ["flushing an upload: Input/output error", "0.0", "0"]


def test_who_was_taken_over_learns_it_when_the_flush_has_ended(server: Server, unique: str) -> None:
    create_project(server, unique)
    assert server.manage(_SLOW.format(project=unique) + _TAKEN_OVER) == "refused at 0.0\n"
