"""What is read of charts, models and images, in the sandbox: pure functions of bytes that import next to nothing.

`projects.readers` says with which limits each of them runs.
"""
