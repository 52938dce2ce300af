"""The signing keys: private, made once, rotated with an overlap."""

from __future__ import annotations

import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from registry_core.tokens.keys import TOKEN_LIFE_MAX_S, KeyRing, unreadable_keys


def test_key_is_made_once_by_many_at_once_and_is_private(tmp_path: Path) -> None:
    folder = tmp_path / "token-keys"
    with ThreadPoolExecutor(8) as pool:
        kids = set(pool.map(lambda _: KeyRing(folder).signing().kid, range(16)))
    assert len(kids) == 1
    (path,) = folder.glob("*.pem")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_running_process_sees_a_rotation_and_still_believes_the_old_key(tmp_path: Path) -> None:
    running, other = KeyRing(tmp_path), KeyRing(tmp_path)
    old = running.signing().kid
    new = other.rotate()
    assert running.signing().kid == new != old
    assert running.verifying(old) is not None


def test_key_is_not_believed_once_its_tokens_are_dead_and_goes_at_the_next_rotation(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path)
    old = ring.signing().kid
    ring.rotate()
    age_ns = (TOKEN_LIFE_MAX_S + 10) * 1_000_000_000
    for path in tmp_path.glob("*.pem"):
        made_ns, rest = path.name.split(".", 1)
        path.rename(path.with_name(f"{int(made_ns) - age_ns:020d}.{rest}"))
    assert ring.verifying(old) is None
    ring.rotate()
    assert not list(tmp_path.glob(f"*.{old}.pem"))
    assert ring.signing().verifies_until is None


def test_key_that_cannot_be_read_is_left_out_and_the_others_go_on(tmp_path: Path) -> None:
    """What a rotation as another account, or a damaged disk, leaves: also as the newest key, which would sign."""
    ring = KeyRing(tmp_path)
    good = ring.signing().kid
    (tmp_path / f"{time.time_ns():020d}.damaged.pem").write_text("no key")
    (tmp_path / "nonsense.pem").mkdir()
    fresh = KeyRing(tmp_path)
    assert fresh.signing().kid == good
    assert fresh.signing().verifies_until is None
    assert fresh.verifying("damaged") is None
    assert unreadable_keys(tmp_path) == sorted(path for path in tmp_path.glob("*.pem") if good not in path.name)


def test_folder_in_which_no_key_can_be_read_gets_a_new_one(tmp_path: Path) -> None:
    (tmp_path / f"{time.time_ns():020d}.damaged.pem").write_text("no key")
    ring = KeyRing(tmp_path)
    assert ring.verifying(ring.signing().kid) is not None


def test_unknown_key_id_is_no_key(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path)
    ring.signing()
    for kid in ("", "../secret", "x" * 1000, "\x00"):
        assert ring.verifying(kid) is None


def test_looking_for_a_key_costs_little(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path)
    kid = ring.signing().kid
    began = time.perf_counter()
    for _ in range(200):
        ring.verifying(kid)
    assert time.perf_counter() - began < 2
