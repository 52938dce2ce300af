"""What the handlers share is made as the configuration wants it."""

import pytest
from pydantic import SecretStr

from registry_core.config import Config
from registry_core.distribution.services import PREPARED_AFTER, _prepared_after


@pytest.mark.parametrize(
    ("direct_url", "expected"), [(None, PREPARED_AFTER), ("postgresql://ada@past-the-pooler.example/portolan", None)]
)
def test_statements_are_prepared_unless_a_pooler_stands_before_the_database(
    direct_url: str | None, expected: int | None
) -> None:
    direct = None if direct_url is None else SecretStr(direct_url)
    assert _prepared_after(Config(database_direct_url=direct)) == expected
