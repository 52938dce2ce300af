"""Pages of lists: tags, repositories, referrers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks.contents import MANY, REFERRERS, TAGS
from tests.benchmarks.rows.base import GOAL_REGISTRIES, Goal, WrkRow

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench


def _tags_page(bench: Bench, _who: str) -> str:
    return f"/v2/{TAGS}/tags/list?n=100&last=b{bench.scale.listed_tags // 2:06d}"


def _catalog_page(bench: Bench, _who: str) -> str:
    return f"/v2/_catalog?n=100&last={MANY}/r{bench.scale.listed_repositories // 2:05d}"


def _referrers(bench: Bench, _who: str) -> str:
    return f"/v2/{REFERRERS}/referrers/{bench.contents.digests['referrers-subject']}"


ROWS = (
    WrkRow(
        name="tags-100k",
        what="page of 100 in the middle of 100,000 tags, 4 connections",
        needs=("tags",),
        path=_tags_page,
        scope=f"repository:{TAGS}:pull",
        connections=4,
        who=GOAL_REGISTRIES,
        goals=(Goal("v3", least=20),),
        is_comparable=False,  # what v3 takes for a page grows with the tags, of which the short run has fewer
    ),
    WrkRow(
        name="catalog",
        what="page of 100 in the middle of 5,000 repositories, 4 connections",
        needs=("many",),
        path=_catalog_page,
        scope="registry:catalog:*",
        connections=4,
        who=GOAL_REGISTRIES,
        goals=(Goal("v3", least=20),),
    ),
    WrkRow(
        name="referrers-1000",
        what="1,000 referrers, which are one page, 4 connections (distribution has no referrers)",
        needs=("referrers",),
        path=_referrers,
        scope=f"repository:{REFERRERS}:pull",
        connections=4,
        who=("portolan",),
        is_comparable=False,
    ),
)
