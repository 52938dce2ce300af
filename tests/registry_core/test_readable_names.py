"""Names that look like others, or have parts that nobody sees, are refused; a name in one script is as good as any."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_core.errors import InvalidInput
from registry_core.names.readable import check_name, check_text

GOOD = [
    "josé", "müller-2", "Ελένη", "иван.петров", "ґалина", "דוד", "محمد", "سعید۱۲", "राम", "สมคำ", "நிலா", "ქეთი",
    "李小龙", "やまだ太郎", "ヤマダ", "田中ー", "tanaka太郎", "김철수", "金철수", "李ㄅ", "l·lull",
    "plain_ascii-1", "o'brien", "ᏣᎳᎩ", "ꦗꦮ",
]  # fmt: skip
BAD = [
    "admin\u200b", "admin\u00ad", "\u202enimda", "admin\u2066", "a\u200db", "a\u2060b", "\ufeffadmin", "a\ufe0f",
    "\u3164", "\u115fa", "\u2800", "a\U000e0061", "a\u034fb", "a\u061cb",  # nobody sees them
    "adm\u0456n", "\u0430dmin", "g\u03bfogle", "\u10330",
    "p\u0430ypal", "\u13aadmin", "ad-\u043c\u0456n", "иvan", "안녕ひら",  # two scripts
    "\uff41\uff44\uff4d\uff49\uff4e", "\ufb01n", "\u217b", "\U0001d41a", "adm\u2010in", "a\u2044b",  # look-alikes
    "\u06612", "\u09671", "a\u0300\u0301\u0302\u0303\u0304", "\u0301abc", "a\ue000", "a😀",
]  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_a_name_in_one_script_is_allowed(name: str) -> None:
    check_name(name, what="a user name")


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_a_name_that_may_be_taken_for_another_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="a user name"):
        check_name(name, what="a user name")


@pytest.mark.parametrize("text", ["Команда DevOps", "Продукт API", "✔️ ready", "👩‍💻 team", "Équipe 1"])
def test_words_of_a_longer_name_may_be_of_different_scripts(text: str) -> None:
    check_text(text, what="a group's name")


@pytest.mark.parametrize("text", ["Dev\u200bOps", "\u202eteam", "t\u0435am one", "a\u200d b"])
def test_a_longer_name_hides_nothing_either(text: str) -> None:
    with pytest.raises(InvalidInput):
        check_text(text, what="a group's name")


@given(st.text(max_size=60))
def test_any_text_is_refused_or_allowed_and_nothing_else(text: str) -> None:
    try:
        check_name(text or "a", what="it")
    except InvalidInput:
        return
    assert not any(
        unicodedata.category(character) in {"Cf", "Cc", "Zl", "Zp"} for character in text if ord(character) > 127
    )


@pytest.mark.parametrize("piece", ["\u0430a", "a\u0301", "\u0456", "漢a", "👩‍", "a\u0300" * 3])
def test_hostile_names_take_no_time(piece: str) -> None:
    text = (piece * 5000)[:5000]
    begin_s = time.perf_counter()
    for check in (check_name, check_text):
        try:
            check(text, what="it")
        except InvalidInput:
            continue
    assert time.perf_counter() - begin_s < 0.5
