"""How processes are put together. It may import everything, and nothing imports it."""
