"""Words of a text in any script, one rule for all: of ASCII text they are those of rouge-score.

Letters, digits and marks by Unicode, without case, however accents are encoded. Scripts that put no space between words
(Chinese, Japanese, Thai, ...) give a word for every character, with the marks that stand on it.
"""

from functools import cache
from unicodedata import normalize

# Scripts that are written without spaces between words. Hangul, Tibetan and Ethiopic part theirs.
UNSPACED = (
    "Han Hiragana Katakana Bopomofo Thai Lao Khmer Myanmar Yi Javanese Balinese Sundanese Tai_Tham Tai_Le New_Tai_Lue "
    "Tai_Viet Tangut Nushu"
).split()


@cache
def _patterns():
    """A word; and a character of a script without spaces, or a run of anything else."""
    import regex

    # Script extensions: the mark that lengthens a Japanese vowel belongs to both kanas.
    scripts = "".join(rf"\p{{scx={script}}}" for script in UNSPACED)
    alone = rf"[[{scripts}]&&[\p{{L}}\p{{N}}]--[0-9]]"
    word = rf"{alone}\p{{M}}*|(?:(?!{alone})[\p{{L}}\p{{N}}])(?:(?!{alone})[\p{{L}}\p{{N}}\p{{M}}])*"
    written = rf"{alone}\p{{M}}*|(?:(?!{alone}).)+"
    invisible = r"\p{Default_Ignorable_Code_Point}+"  # soft hyphens, joiners, marks of direction
    return tuple(regex.compile(text, regex.V1 | regex.DOTALL) for text in (word, written, invisible))


def words(text: str) -> list[str]:
    """The words that scores compare: ["lund", "1961"] of "Lund, 1961.", and ["東", "京"] of the name of Tokyo."""
    word, _, invisible = _patterns()
    return word.findall(invisible.sub("", normalize("NFC", normalize("NFC", text).casefold())))


def written_words(text: str) -> list[str]:
    """Words as they are written, with their case and punctuation: split at white space, and in scripts without one at
    every character."""
    _, written, _ = _patterns()
    return [word for piece in text.split() for word in written.findall(piece)]
