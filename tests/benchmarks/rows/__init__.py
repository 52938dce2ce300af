"""The rows of the table. A new one is an object in one of these modules (or in a new one) and its name in ROWS."""

from tests.benchmarks.rows import blobs, images, lists, manifests, memory, pushes, s3, tokens
from tests.benchmarks.rows.base import Row

ROWS: tuple[Row, ...] = (
    *manifests.ROWS,
    *blobs.ROWS,
    *images.ROWS,
    *pushes.ROWS,
    *s3.ROWS,
    *tokens.ROWS,
    *lists.ROWS,
    *memory.ROWS,
)
