"""The rows of the table. A new one is an object in one of these modules (or in a new one) and its name in ROWS."""

from tests.benchmarks.rows import blobs, images, lists, manifests, memory, policies, pushes, s3, tokens
from tests.benchmarks.rows.base import Row

ROWS: tuple[Row, ...] = (
    *manifests.ROWS,
    *blobs.ROWS,
    *images.ROWS,
    *pushes.ROWS,
    *policies.ROWS,
    *s3.ROWS,
    *tokens.ROWS,
    *lists.ROWS,
    *memory.ROWS,
)

# What the short run measures when nothing else is said, in CI for one: rows that the disk does not bound, whose ratio a
# load of a second shows on a small and busy machine, and that are filled in within seconds.
SHORT_ROWS = (
    "manifest-tag-hot-16",
    "manifest-digest-hot",
    "blob-64k",
    "blob-range-1m",
    "pull-image-50",
    "push-small-8",
    "token-robot",
    "catalog",
    "memory-idle",
)
