"""The console's views, one module per page. A view parses, asks `frontend.queries`, and presents."""
