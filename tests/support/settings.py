"""The product's settings with a password hash that costs almost nothing, for the tests and the servers that they start.

Nearly every test signs in or creates a user, and hardly any is about what a guess costs. Those that are start a server
with `REAL_PASSWORDS`.
"""

from django.contrib.auth.hashers import Argon2PasswordHasher

from registry_core.wiring.settings import *  # noqa: F403

REAL_PASSWORDS = {"DJANGO_SETTINGS_MODULE": "registry_core.wiring.settings"}

# The parameters of the algorithm and not another hasher: a name that nobody has is checked at the same cost.
Argon2PasswordHasher.time_cost = 1
Argon2PasswordHasher.memory_cost = 8  # KiB, the least that argon2 takes
Argon2PasswordHasher.parallelism = 1
