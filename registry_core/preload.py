"""Everything imported once, before processes are forked, so that they share its memory.

Of what a process holds after its imports more than nine tenths never change. A process that imports for itself has
pages of its own for that; a forked one has its parent's, as long as nobody writes to them.
"""

import ctypes
import gc
import os
import sys
from importlib import import_module

ARENAS = 2  # of glibc's malloc: with one for each thread, each would keep what it once needed
_M_ARENA_MAX = -8


def preload(*, is_worker: bool = False) -> None:
    """Import what answers requests, and with `is_worker` what runs jobs. No thread, connection or file is opened.

    Raises ConfigError.
    """
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry_core.settings")
    _few_arenas()
    import_module("registry_core.rsgi")
    from django.urls import get_resolver

    _ = get_resolver().url_patterns
    if is_worker:
        from registry_core.celery import app

        app.loader.import_default_modules()
    # A collection in a child writes to every object that it looks at, and so copies the page: let it look at none.
    gc.collect()
    gc.freeze()


def _few_arenas() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS)
