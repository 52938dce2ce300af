"""What a retention policy does with a repository: for each artifact the rule that retains it, or that none does."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from django.db import connection

from projects.holds.queries import held_artifact_ids
from projects.immutability.rules import Protection
from projects.retention.rules import Candidate, Rule
from registry_core.config import get_config
from registry_core.content.descriptions import accessory_by_tag
from registry_core.content.models import ManifestDescriptor
from registry_core.content.repositories import RepositoryRef
from registry_core.database.times import database_now
from registry_core.digests import Digest

HELD: Final = "it is under legal hold"
IMMUTABLE: Final = "its tag {tag} is immutable"
# Accessories follow their subject, and children their index, whose delete comes first: neither is a candidate. What has
# no tag and came within the grace period may belong to a push in progress: it is neither counted nor deleted.
_CANDIDATES: Final = """
    SELECT artifact.id, artifact.digest, artifact.size_bytes,
           greatest(artifact.pushed_at, max(tag.pushed_at)), greatest(artifact.pulled_at, max(tag.pulled_at)),
           coalesce(array_agg(tag.name ORDER BY tag.name) FILTER (WHERE tag.name IS NOT NULL), '{}')
    FROM content_artifact AS artifact
    LEFT JOIN content_tag AS tag ON tag.artifact_id = artifact.id AND tag.deleted_at IS NULL
    WHERE artifact.repository_id = %(repository)s AND artifact.deleted_at IS NULL
      AND (%(digest)s::bytea IS NULL OR artifact.digest = %(digest)s)
      AND (artifact.accessory_of IS NULL OR NOT EXISTS (
        SELECT 1 FROM content_artifact AS subject WHERE subject.repository_id = artifact.repository_id
          AND subject.digest = artifact.accessory_of AND subject.deleted_at IS NULL))
      AND NOT EXISTS (
        SELECT 1 FROM content_manifestdescriptor AS entry
        JOIN content_artifact AS parent ON parent.manifest_id = entry.manifest_id
        WHERE entry.role = {manifest} AND entry.digest = artifact.digest
          AND parent.repository_id = artifact.repository_id AND parent.deleted_at IS NULL)
    GROUP BY artifact.id
    HAVING count(tag.id) > 0 OR artifact.pushed_at <= clock_timestamp() - make_interval(secs => %(grace)s)
    ORDER BY artifact.id
""".replace("{manifest}", str(int(ManifestDescriptor.Role.MANIFEST)))  # a literal, as in the index descriptor_child
_ACCESSORY_TAGS: Final = """
    SELECT accessory.accessory_of, tag.name FROM content_artifact AS accessory
    JOIN content_tag AS tag ON tag.artifact_id = accessory.id AND tag.deleted_at IS NULL
    WHERE accessory.repository_id = %s AND accessory.deleted_at IS NULL AND accessory.accessory_of IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of an artifact. `reason`: why it stays; empty if it is to be deleted."""

    candidate: Candidate
    reason: str

    @property
    def is_retained(self) -> bool:
        return bool(self.reason)

    @property
    def name(self) -> str:
        """The artifact, for people."""
        tags = f" ({', '.join(self.candidate.tags[:10])})" if self.candidate.tags else " (untagged)"
        return f"{Digest(self.candidate.digest)}{tags}"

    def __str__(self) -> str:
        return f"retain {self.name}: {self.reason}" if self.reason else f"delete {self.name}: no rule retains it"


def applicable(rules: Sequence[Rule], repository: str) -> list[Rule]:
    """The rules that are about a repository, named without its project. None: the policy leaves it alone."""
    return [rule for rule in rules if not rule.is_disabled and rule.selection.has_repository(repository)]


def evaluate(repository: RepositoryRef, rules: Sequence[Rule], *, at: dt.datetime | None = None) -> list[Verdict]:
    """The verdict on every candidate of a repository, as if the policy ran at `at` (by default now).

    Empty if no rule is about the repository.
    """
    mine = applicable(rules, repository.name.path)
    if not mine:
        return []
    candidates = _candidates(repository)
    return _verdicts(repository, candidates, mine, at or database_now())


def _verdicts(
    repository: RepositoryRef, candidates: Sequence[Candidate], rules: Sequence[Rule], now: dt.datetime
) -> list[Verdict]:
    reasons: dict[int, str] = {}
    judged = _with_accessory_tags(repository, candidates)
    for rule in rules:
        for candidate in rule.retained(judged, now):
            reasons.setdefault(candidate.id, str(rule))
    held = held_artifact_ids(repository)
    protection = Protection(repository.project.id, repository.project.policies)
    for candidate in candidates:
        if candidate.id in held:
            reasons.setdefault(candidate.id, HELD)
        elif candidate.id not in reasons:
            for tag in candidate.tags:
                if protection.covers(repository.name.path, tag):
                    reasons[candidate.id] = IMMUTABLE.format(tag=tag)
                    break
    return [Verdict(candidate, reasons.get(candidate.id, "")) for candidate in candidates]


def current(repository: RepositoryRef, digest: bytes) -> Candidate | None:
    """The candidate of that digest as it is now; None if there is none."""
    return next(iter(_candidates(repository, digest)), None)


def _candidates(repository: RepositoryRef, digest: bytes | None = None) -> list[Candidate]:
    values = {"repository": repository.id, "digest": digest, "grace": get_config().gc_grace_s}
    with connection.cursor() as cursor:
        cursor.execute(_CANDIDATES, values)
        return [
            Candidate(number, bytes(raw), tuple(tags), size, pushed_at, pulled_at)
            for number, raw, size, pushed_at, pulled_at, tags in cursor.fetchall()
        ]


def _with_accessory_tags(repository: RepositoryRef, candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates for rules: a tag of an accessory counts as one of its subject, with which it goes or stays. Tags
    by which cosign attaches signatures are none that people choose."""
    with connection.cursor() as cursor:
        cursor.execute(_ACCESSORY_TAGS, [repository.id])
        rows = [(bytes(subject), name) for subject, name in cursor.fetchall() if accessory_by_tag(name) is None]
    more: dict[bytes, tuple[str, ...]] = {}
    for subject, name in rows:
        more[subject] = (*more.get(subject, ()), name)
    return [replace(each, tags=each.tags + more.get(each.digest, ())) for each in candidates] if more else [*candidates]
