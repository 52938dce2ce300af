"""Everything imported once, before processes are forked, so that they share its memory.

Of what a process holds after its imports more than nine tenths never change. A process that imports for itself has
pages of its own for that; a forked one has its parent's, as long as nobody writes to them.
"""

import ctypes
import gc
import os
import sys
from importlib import import_module

from registry_core.machine.imports import without

ARENAS = 2  # of glibc's malloc: with one for each thread, each would keep what it once needed
_M_ARENA_MAX = -8
# What Django imports by name when somebody signs in; in each worker for itself, were it not here already.
_FOR_THE_FIRST_REQUEST = (
    "argon2",
    "django.contrib.messages.storage.fallback",
    "django.contrib.sessions.serializers",
    "encodings.idna",  # what the name of a host is encoded with, also where it is an address
)
_FOR_WORKERS = ("multiprocessing.popen_fork", "registry_core.wiring.serve")


def preload(*, is_worker: bool = False) -> None:
    """Import what answers requests, and with `is_worker` what runs jobs. No thread, connection or file is opened.

    Nothing is done in a process that was forked from one that has done this. Raises ConfigError.
    """
    if gc.get_freeze_count():
        return
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry_core.wiring.settings")
    _few_arenas()
    # REST framework would have them for its test client and pages, granian for an interface that we do not use, Celery
    # for another kind of threads: 5 MiB.
    with without("requests", "pygments", "anyio", "greenlet"):
        import_module("registry_core.wiring.rsgi")
        for module in (*_FOR_THE_FIRST_REQUEST, *_FOR_WORKERS):
            import_module(module)
        from django.urls import get_resolver

        _ = get_resolver().url_patterns
        if is_worker:
            from registry_core.wiring.celery import import_worker

            import_worker()
            import_module("registry_core.wiring.clock")
    from django.db import connection

    connection.get_connection_params()  # makes what converts values, for all connections
    from registry_core.content.policies import plugins

    plugins()
    # A collection in a child writes to every object that it looks at, and so copies the page: let it look at none.
    gc.collect()
    gc.freeze()
    # It holds names. A child that looks up others would count down the references of these, each on a page of its own.
    sys._clear_type_cache()
    _give_back()


def _few_arenas() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS)


def _give_back() -> None:
    """Return to the system what was needed only while importing; a child that needs it again has clean pages then."""
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
