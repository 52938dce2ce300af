"""Statements are prepared by the server where the one who prepares is the one who runs them."""

import pytest
from pydantic import SecretStr

from registry_core.config import PREPARED_AFTER, Config


@pytest.mark.parametrize(
    ("direct_url", "expected"), [(None, PREPARED_AFTER), ("postgresql://ada@past-the-pooler.example/portolan", None)]
)
def test_statements_are_prepared_unless_a_pooler_stands_before_the_database(
    direct_url: str | None, expected: int | None
) -> None:
    direct = None if direct_url is None else SecretStr(direct_url)
    assert Config(database_direct_url=direct).prepared_after == expected
