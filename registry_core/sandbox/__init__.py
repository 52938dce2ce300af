"""The sandbox: untrusted content is read in a child process with limits, never in a serving process.

`reading.read` is the interface: it runs a registered function on the bytes of an object and returns its result. The
modules `child`, `confinement`, `packing` and `archives` run in the child; they import as little as possible, because
each job starts a new interpreter.
"""
