"""The REST API, through Django's test client and through a running server."""
