"""The form of object keys: files of another form among the objects belong to somebody else.

Such files (`lost+found`, files of a backup program, another installation's folder) are never listed, so never swept,
and never read, since they may be folders or pipes.
"""

from __future__ import annotations

import re

_NAME = "[0-9a-f]{32}(?:-[0-9a-f]{1,16})?"
FAN = re.compile("[0-9a-f]{2}")
FILE_NAME = re.compile(_NAME)
KEY = re.compile(f"(?:{FAN.pattern}/)?{_NAME}")
