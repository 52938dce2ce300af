"""How far the long tests go: whole in `make test-full`, and in `make test` as far as shows what they are about."""

import os
from typing import Final

IS_FULL: Final = os.environ.get("TEST_FULL") == "1"
"""Set by tests.support.environment."""
