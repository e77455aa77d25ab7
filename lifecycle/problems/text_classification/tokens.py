"""How texts are cut into tokens: what the texts of a training ask for.

`choice`          parameters of the vectoriser that suit some texts
`mostly_whole`    whether most texts are one token, in which nothing can be told apart
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

SIGNS = "[%$€£₹+-]"
WORDS = rf"(?u)\w+|{SIGNS}"
"""Words, numbers and the signs that carry direction in financial text; no stop words: `not` and `up` matter."""

UNSPACED = (
    r"\u0e00-\u0e3a\u0e40-\u0e4e\u0e80-\u0eff\u1000-\u1049\u1050-\u109f\u1780-\u17d3"  # Thai, Lao, Burmese, Khmer
    r"\u3005-\u3007\u3041-\u30fa\u30fc-\u312f\u31a0-\u31bf\u31f0-\u31ff\uff66-\uff9f"  # kana, bopomofo
    r"\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua48c\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U000323af"  # Han, Yi
)
"""Letters of scripts that put no blanks between words: each stands for itself, and some in a row for a word."""
MARKS = (
    r"\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    r"\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed\u0711-\u07f3\u07fd\u0816-\u082d\u0859-\u085b\u0898-\u08e1\u08e3-\u0963"
    r"\u0981-\u09e3\u09fe-\u0a75\u0a81-\u0ae3\u0afa-\u0b63\u0b82-\u0bd7\u0c00-\u0c63\u0c81-\u0c83\u0cbc-\u0d4d"
    r"\u0d57-\u0d63\u0d81-\u0df3\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ecd\u0f18\u0f19\u0f35"
    r"\u0f37\u0f39\u0f3e-\u0f84\u0f86-\u0fbc\u0fc6\u102b-\u103e\u1056-\u1059\u105e-\u1060\u1062-\u1064\u1067-\u106d"
    r"\u1071-\u1074\u1082-\u108d\u108f\u109a-\u109d\u135d-\u135f\u1712-\u1734\u1752-\u1773\u17b4-\u17d3\u17dd"
    r"\u180b-\u180d\u180f-\u193b\u1a17-\u1a1b\u1a55-\u1a7f\u1ab0-\u1b44\u1b6b-\u1b73\u1b80-\u1bf3\u1c24-\u1c37"
    r"\u1cd0-\u1cd2\u1cd4-\u1dff\u200c\u200d\u20d0-\u20f0\u2cef-\u2cf1\u2d7f-\u2dff\u302a-\u302f\u3099\u309a\ua66f-\ua672"
    r"\ua674-\ua67d\ua69e-\ua6f1\ua802-\ua827\ua82c\ua880-\ua8c5\ua8e0-\ua8f1\ua8ff-\ua92d\ua947-\ua953\ua980-\ua9c0"
    r"\ua9e5-\uaa4d\uaa7b-\uaac1\uaaeb-\uaaef\uaaf5\uaaf6\uabe3-\uabea\uabec\uabed\ufb1e\ufe00-\ufe0f\ufe20-\ufe2f"
)
"""What belongs to the letter before it: accents, vowel signs, joiners. Between them lie letters, never a sign."""
PICTURES = r"\u2190-\u21ff\u2300-\u2bff\u3297\u3299\U0001f000-\U0001f3fa\U0001f400-\U0001faff"
"""Arrows, shapes, dingbats and emoji, without the colours of a skin."""

SPEAKING = (
    rf"[{UNSPACED}][{MARKS}]*"
    rf"|(?:(?![{UNSPACED}])\w[{MARKS}]*)+"
    rf"|[{PICTURES}](?:[\ufe0f\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]|\u200d[{PICTURES}])*"
)
ALL_SCRIPTS = rf"(?u){SPEAKING}|{SIGNS}"
"""The same where words have signs above their letters, or no blanks between them, or where emoji speak."""

RARE = 0.01
"""In so few texts a letter or sign that `WORDS` does not see is left aside."""
WORDLESS = 0.1
"""Where more texts than this hold signs alone, all of them are read by their characters."""
WHOLE = 0.5
"""Where more texts than this are one token, nobody can learn from what is in them."""
WHOLE_TEXTS = (
    "Most texts are a single token, so that nothing is learnt from what is in them. To read their letters: "
    "--model-params \"{'tfidf__analyzer': 'char'}\""
)


def choice(texts: Sequence[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a TfidfVectorizer that suit the texts of a training, beside those given; the same for the same.

    Most texts are read as words and pairs of words. Where most letters belong to scripts without blanks, three tokens
    in a row are seen too, since many words there have three letters; where many texts hold signs alone, all of them
    are read by their characters.
    """
    if given.get("analyzer", "word") != "word":
        return {"ngram_range": (1, 3)}
    speaking, unspaced = re.compile(SPEAKING), re.compile(f"[{UNSPACED}]")
    if not given and sum(speaking.search(text) is None for text in texts) > WORDLESS * len(texts):
        return {"analyzer": "char", "ngram_range": (1, 3)}
    unseen = re.compile(f"[{UNSPACED}{MARKS}{PICTURES}]")
    if sum(unseen.search(text) is not None for text in texts) <= RARE * len(texts):
        return {"analyzer": "word", "token_pattern": WORDS, "ngram_range": (1, 2)}
    letters = sum(sum(map(str.isalnum, text)) for text in texts)
    run_together = 2 * sum(len(unspaced.findall(text)) for text in texts) > letters
    return {"analyzer": "word", "token_pattern": ALL_SCRIPTS, "ngram_range": (1, 3) if run_together else (1, 2)}


def mostly_whole(counts: Any) -> bool:
    """Tell from the number of different terms in each text whether most texts are a single one."""
    return bool((counts <= 1).mean() > WHOLE)
