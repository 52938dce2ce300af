#!/usr/bin/env python
"""Django's own commands (`makemigrations`, `check`, `shell`) on Portolan's settings."""

import os
import sys


def main() -> None:
    """Run one Django management command."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry_core.wiring.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
