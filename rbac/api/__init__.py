"""REST: users, groups, members, robots, permissions, sessions."""
