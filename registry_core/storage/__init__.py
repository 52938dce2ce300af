"""The object store: a folder or S3, with the same interface."""
