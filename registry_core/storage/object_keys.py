"""What the keys of objects look like: whatever else lies among the objects was put there by somebody else.

Such a thing (`lost+found`, a file of a backup program, another installation's folder) is never listed, so it is never
swept, and nothing that it can be (a folder, a pipe) is read.
"""

from __future__ import annotations

import re

_NAME = "[0-9a-f]{32}(?:-[0-9a-f]{1,16})?"
FAN = re.compile("[0-9a-f]{2}")
FILE_NAME = re.compile(_NAME)
KEY = re.compile(f"(?:{FAN.pattern}/)?{_NAME}")
