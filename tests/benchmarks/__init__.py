"""`make bench`: Portolan beside other registries, on this machine, in one run.

`programs` finds or builds what takes part, `contestants` starts the servers, `contents` fills them all with the same,
`rows` are what is measured, `loads` the programs that make the load, `measuring` looks at processors and memory,
`bench` runs it all in turns, `report` writes docs/benchmarks.md and reads it again.
"""
