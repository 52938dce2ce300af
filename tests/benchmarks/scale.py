"""How much is measured: the whole run, or the short one of CI."""

from dataclasses import dataclass

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True)
class Scale:
    """Sizes of the content and lengths of the loads. `seconds` is one measurement's; `left_out` are contestants that
    are not measured, `once` those that are measured in one round only, because no goal is about them."""

    is_short: bool
    rounds: int
    seconds: float
    cold_tags: int
    listed_tags: int
    listed_repositories: int
    referrers: int
    huge_blob_bytes: int
    pull_clients: int
    pushed_images: int
    large_pushes: int
    left_out: frozenset[str] = frozenset()
    once: frozenset[str] = frozenset()


FULL = Scale(
    is_short=False,
    rounds=3,
    seconds=4,
    cold_tags=10_000,
    listed_tags=100_000,
    listed_repositories=5_000,
    referrers=1_000,
    huge_blob_bytes=GIB,
    pull_clients=50,
    pushed_images=200,
    large_pushes=32,
    once=frozenset({"debian"}),
)
SHORT = Scale(
    is_short=True,
    rounds=1,
    seconds=1,
    cold_tags=1_000,
    listed_tags=10_000,
    listed_repositories=1_000,
    referrers=100,
    huge_blob_bytes=256 * MIB,
    pull_clients=10,
    pushed_images=40,
    large_pushes=4,
    left_out=frozenset({"debian", "portolan:s3", "v3:s3"}),
)
