"""The data path: the OCI endpoint and the token endpoint, asynchronous, beside Django."""
