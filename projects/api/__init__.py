"""REST: projects and what is in them."""
