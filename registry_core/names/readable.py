"""Names that people read: none that can be mistaken for another, or has invisible parts.

After Unicode Technical Standard 39 (Security Mechanisms), "highly restrictive": the letters of a word are of one
script, or Latin together with the scripts of Chinese, Japanese and Korean. So no word has a Cyrillic letter among Latin
ones, while names in any single script are equally valid.

The `regex` package has the scripts of characters (UAX 24, with extensions), which `unicodedata` does not.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable
from typing import Any, Final

from registry_core.errors import InvalidInput

MARKS_MAX: Final = 4
# Sets of scripts that may be combined in one word, as `regex` names them. Common and Inherited go with all of them.
_TOGETHER: Final = (
    ("Latin", "Han", "Hiragana", "Katakana"),
    ("Latin", "Han", "Bopomofo"),
    ("Latin", "Han", "Hangul"),
)
# Scripts in everyday use (UAX 31, tables 5 and 7): names may not use others.
_IN_USE: Final = (
    "Latin", "Greek", "Cyrillic", "Armenian", "Hebrew", "Arabic", "Thaana", "Devanagari", "Bengali", "Gurmukhi",
    "Gujarati", "Oriya", "Tamil", "Telugu", "Kannada", "Malayalam", "Sinhala", "Thai", "Lao", "Tibetan", "Myanmar",
    "Georgian", "Hangul", "Ethiopic", "Khmer", "Hiragana", "Katakana", "Bopomofo", "Han",
    "Adlam", "Balinese", "Bamum", "Batak", "Canadian_Aboriginal", "Chakma", "Cham", "Cherokee", "Hanifi_Rohingya",
    "Javanese", "Kayah_Li", "Lepcha", "Limbu", "Lisu", "Mandaic", "Meetei_Mayek", "Miao", "Mongolian", "New_Tai_Lue",
    "Newa", "Nko", "Nyiakeng_Puachue_Hmong", "Ol_Chiki", "Osage", "Saurashtra", "Sundanese", "Syloti_Nagri", "Syriac",
    "Tai_Le", "Tai_Tham", "Tai_Viet", "Tifinagh", "Vai", "Wancho", "Yi",
)  # fmt: skip
# Punctuation within words of some scripts: Catalan, Hebrew, Tibetan, Japanese (UAX 31, table 3a).
_WITHIN_WORDS: Final = "\u00b7\u05f3\u05f4\u0f0b\u30fb"
# The vowel AM of Thai and Lao is typed as one character, and decomposed by NFKC.
_NO_OTHER_FORM: Final = dict.fromkeys(map(ord, "\u0e33\u0eb3"))
# With variation selectors and joiners, which are invisible elsewhere.
_EMOJI: Final = r"\p{Extended_Pictographic}\uFE0F?(?:\u200D\p{Extended_Pictographic}\uFE0F?)*"
_UNSEEN: Final = r"[\p{Default_Ignorable_Code_Point}\p{Bidi_Control}\p{C}\p{Zl}\p{Zp}\u2800]"


def check_name(text: str, *, what: str) -> None:
    """Raises InvalidInput unless a name of one word, such as a user's, is distinguishable from others. `what` is the
    name's description in the message."""
    if text.isascii():
        return
    check_text(text, what=what)
    usual = unicodedata.normalize("NFKC", text.translate(_NO_OTHER_FORM))
    if usual != text.translate(_NO_OTHER_FORM):
        raise InvalidInput(f"{what} has characters in an unusual form: write {usual}")
    if not _is_of_one_script("".join(_words(text))):
        raise InvalidInput(f"{what} mixes letters of several scripts, and may look like another: use one script")
    if odd := [c for c in text if not _is_of_a_word(c)]:
        raise InvalidInput(f"{what} may have letters, digits, and ASCII punctuation, not {_shown(odd)}")
    if unicodedata.category(text[0]).startswith("M"):
        raise InvalidInput(f"{what} begins with a combining mark, which must follow a letter")


def check_text(text: str, *, what: str) -> None:
    """The same for a name of several words, such as a group's: each word is of one script, and everything is
    visible."""
    if text.isascii():
        return
    if unseen := _pattern(_UNSEEN).findall(_pattern(_EMOJI).sub("", text)):
        raise InvalidInput(
            f"{what} has characters that are invisible or change the direction of writing: {_shown(unseen)}"
        )
    if _pattern(rf"\p{{M}}{{{MARKS_MAX + 1}}}").search(text):
        raise InvalidInput(f"{what} has more than {MARKS_MAX} marks on one letter")
    for word in _words(text):
        if not _is_of_one_script(word):
            raise InvalidInput(
                f"{what} mixes letters of several scripts in one word, which may look like another: {word}"
            )
        if len({ord(digit) - unicodedata.decimal(digit) for digit in word if digit.isdecimal()}) > 1:
            raise InvalidInput(f"{what} mixes digits of several scripts: {word}")


def _words(text: str) -> list[str]:
    return list(_pattern(r"[\p{L}\p{M}\p{N}]+").findall(text))


def _is_of_a_word(character: str) -> bool:
    category = unicodedata.category(character)
    return character.isascii() or category[0] in "LM" or category == "Nd" or character in _WITHIN_WORDS


def _is_of_one_script(word: str) -> bool:
    if word.isascii():
        return True
    if any(_pattern(_all_of(scripts)).fullmatch(word) for scripts in _TOGETHER):
        return True
    first = _pattern(r"[^\p{Script=Common}\p{Script=Inherited}]").search(word)
    return first is None or any(_pattern(_all_of([name])).fullmatch(word) for name in _scripts_of(first[0]))


def _scripts_of(character: str) -> tuple[str, ...]:
    """The scripts in which a letter is used."""
    return tuple(name for name in _IN_USE if _pattern(rf"\p{{Script_Extensions={name}}}").fullmatch(character))


def _all_of(scripts: Iterable[str]) -> str:
    one_of = "".join(rf"\p{{Script_Extensions={name}}}" for name in scripts)
    return rf"[{one_of}\p{{Script=Common}}\p{{Script=Inherited}}]+"


@functools.cache
def _pattern(text: str) -> Any:
    import regex  # imported on demand: it takes some MiB

    return regex.compile(text)


def _shown(characters: Iterable[str]) -> str:
    return ", ".join(f"U+{ord(character):04X}" for character in sorted(set(characters))[:5])
