"""The shared parts of one worker's handlers: the pool, the statements, the caches. Created when a worker starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg_pool import AsyncConnectionPool

from registry_core.caching.generation_cache import GenerationCache
from registry_core.config import get_config
from registry_core.content.blobs import BlobRef
from registry_core.content.repositories import ProjectRef
from registry_core.content.verdicts import Verdict
from registry_core.database.outage import RECONNECT_TIMEOUT_S, WatchedPool
from registry_core.distribution.identity import Holder, Identity
from registry_core.distribution.known_answers import KnownAnswer
from registry_core.distribution.pulls import PullCounter
from registry_core.distribution.reads import Located, Reach, Reads, StoredManifest
from registry_core.distribution.shared_work import SharedWork
from registry_core.distribution.tail import Tail
from registry_core.http.fairness import SharedSlots
from registry_core.machine.generations import Generations
from registry_core.machine.state import generations, machine_id
from registry_core.storage.interface import SignedUrl


@dataclass(slots=True)
class Services:
    """One worker's shared parts."""

    pool: AsyncConnectionPool[Any]
    reads: Reads
    generations: Generations
    manifests: GenerationCache[StoredManifest]
    answers: GenerationCache[KnownAnswer]
    blobs: GenerationCache[BlobRef]
    signed_urls: GenerationCache[SignedUrl]
    names: GenerationCache[Located]
    identities: GenerationCache[Identity]
    holders: GenerationCache[Holder]
    signing_in: SharedWork[Identity]
    finding_holders: SharedWork[Holder]
    projects: GenerationCache[ProjectRef]
    actions: GenerationCache[frozenset[str]]
    absences: GenerationCache[frozenset[str]]
    judging: SharedWork[Verdict]
    supplying: SharedWork[bool]
    reaches: GenerationCache[Reach]
    catalogs: GenerationCache[list[str]]
    pulls: PullCounter
    tail: Tail
    uploads: SharedSlots


def make_services() -> Services:
    """New shared parts; the pool is not open yet."""
    config = get_config()
    pool = WatchedPool(
        config.database_dsn or "",
        min_size=1,
        max_size=config.database_pool_max,
        timeout=5,
        reconnect_timeout=RECONNECT_TIMEOUT_S,
        open=False,
        kwargs={"autocommit": True, "prepare_threshold": config.prepared_after},
    )
    known = generations()
    return Services(
        pool=pool,
        reads=Reads(pool),
        generations=known,
        manifests=GenerationCache(known, "manifests"),
        answers=GenerationCache(known, "answers"),
        blobs=GenerationCache(known, "blobs"),
        signed_urls=GenerationCache(known, "signed urls"),
        names=GenerationCache(known, "names"),
        identities=GenerationCache(known, "identities"),
        holders=GenerationCache(known, "holders"),
        signing_in=SharedWork(),
        finding_holders=SharedWork(),
        projects=GenerationCache(known, "projects by name"),
        actions=GenerationCache(known, "actions"),
        absences=GenerationCache(known, "absences"),
        judging=SharedWork(),
        supplying=SharedWork(),
        reaches=GenerationCache(known, "reaches"),
        catalogs=GenerationCache(known, "catalogs"),
        pulls=PullCounter(pool),
        tail=Tail(
            database_url=config.database_direct_dsn or "",
            pool=pool,
            generations=known,
            machine=machine_id(),
            lock=config.run_dir / "tail.lock",
        ),
        uploads=SharedSlots(config.max_uploads_at_once),
    )
