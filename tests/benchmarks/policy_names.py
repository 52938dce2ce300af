"""What the benchmark's policies are called, for those who have no Django."""

from typing import Final

PULLS: Final = "bench-pulls"
TAGS: Final = "bench-tags"
