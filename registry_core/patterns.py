"""Regular expressions that users write: matched by RE2, whose time is linear in the text, whatever the pattern.

Our own patterns are compiled by `re`; tests/registry_core/test_patterns.py checks that each is linear too.
"""

from __future__ import annotations

from typing import Final

import re2

from registry_core.errors import InvalidInput

PATTERN_MAX: Final = 512
"""The most characters of a pattern."""
MEMORY_BYTES: Final = 1 << 20
"""The most memory of a compiled pattern."""


class Pattern:
    """A user's pattern. It matches whole texts, as rules about names do."""

    __slots__ = ("_compiled", "text")

    def __init__(self, text: str) -> None:
        """Raises InvalidInput, which says what is wrong with the pattern."""
        if len(text) > PATTERN_MAX:
            raise InvalidInput(f"a pattern has at most {PATTERN_MAX} characters, this one has {len(text)}")
        options = re2.Options()
        options.log_errors = False
        options.max_mem = MEMORY_BYTES
        try:
            self._compiled = re2.compile(text, options)
        except (re2.error, UnicodeEncodeError) as error:
            raise InvalidInput(f"{text!r} is not a regular expression (RE2 syntax): {_reason(error)}") from None
        self.text = text

    def matches(self, text: str) -> bool:
        """Whether the pattern matches the whole text; never text that is not valid Unicode."""
        try:
            return self._compiled.fullmatch(text) is not None
        except UnicodeEncodeError:
            return False


def _reason(error: Exception) -> str:
    reason = error.args[0] if error.args else error
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
