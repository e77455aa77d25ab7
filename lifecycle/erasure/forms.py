r"""A text as reports, databases and logs hold it.

A row is shown in JSON (`\"`, `ü`, in a string within a string with more backslashes), in HTML (`&lt;`, escaped once
or twice), in Markdown (`\|`), in another case or with other blanks, and cut after so many letters. `Forms` finds it in
all of them. Where a row is an entry of its own, such as a changed row of a verdict, or an example of a behaviour check
with what was made of the text, the whole entry goes: prediction and label are the person's too. Elsewhere `[erased]`
takes its place.

A text of a few words, such as "good", also stands in what is no row of anybody: it is looked for only where rows are
shown.
"""

import html.entities
import json
import re
import unicodedata
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from lifecycle.problems.text_classification.identity import text_key

GONE = "[erased]"
CUTS = (1000, 300, 200, 120, 60, 59, 40)
"""Letters after which something of ours cuts a text."""
HTML_LETTERS = 295
"""Letters after which a cell of a report in HTML may end in three dots, at the end of a word."""
WORDS, LETTERS = 3, 16
"""What a text needs of both to be told from what is no row."""

AMP = "&(?:amp;)*"
BLANK = rf"(?:\s|\\+[nrtvf]|\\+u(?:00[0a]\w|20\w\w|3000)|{AMP}(?:nbsp|#\d+|#x\w+);)+"
END = r"(?=\s*(?:\\*[\"'<&|`\]]|\.\.\.|…|\Z))"
"""What comes after a text that was cut."""
ENTITY = re.compile(r"<tr\b(?:(?!<tr\b).)*?</tr>", re.DOTALL | re.IGNORECASE)
LINE = re.compile(r"(?:(?<=\n)|\A)\|[^\n]*(?:\n|\Z)")
SHOWN = ("text", "given", "before")
"""The keys under which our reports show a text."""


class Forms:
    """Some texts in every form in which they may stand somewhere."""

    def __init__(self, texts: Iterable[str]) -> None:
        raw = {unicodedata.normalize("NFC", text) for text in texts if text.strip()}
        self.keys = frozenset(map(text_key, raw))
        self.wholes = _sorted(raw)
        self.cuts = _sorted(text[:cut] for text in raw for cut in CUTS if len(text) > cut and is_distinct(text[:cut]))
        self.distinct = tuple(text for text in self.wholes if is_distinct(text))
        self._cut_keys = frozenset(map(text_key, self.cuts))

    def is_row(self, value: str) -> bool:
        """Whether a cell is one of the texts, whole or cut."""
        return text_key(value) in self.keys or (len(value) in CUTS and text_key(value) in self._cut_keys)

    def stand_in(self, value: str) -> bool:
        """Whether one of the texts that can be told from anything else stands in a value."""
        return self._distinct is not None and self._may(value) and bool(self._distinct.search(value))

    def cleaned(self, value: str) -> str:
        """A value, or the content of a file, without the texts and the entries that show them."""
        if not self._may(value):
            return value
        if value.lstrip()[:1] in {"{", "[", '"'}:
            try:
                document = json.loads(value)
            except ValueError:
                return self._replaced(value)
            kept = self._kept(document)
            if kept == document:
                return value
            indented = "\n" in value.strip()
            return json.dumps(kept, ensure_ascii=False, indent=2 if indented else None, sort_keys=indented)
        return self._replaced(value)

    def _kept(self, value: Any) -> Any:
        """A JSON value without the entries that show a text."""
        if isinstance(value, dict):
            return {self.cleaned(key): self._kept(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._kept(each) for each in value if not self._is_entry(each)]
        return self.cleaned(value) if isinstance(value, str) else value

    def _is_entry(self, value: Any) -> bool:
        if not isinstance(value, dict):
            return False
        shown = [value.get(key) for key in SHOWN]
        return any(isinstance(text, str) and self.is_row(re.sub(r" \[[^\]]*\]\Z", "", text)) for text in shown)

    def _replaced(self, value: str) -> str:
        value = ENTITY.sub(lambda row: "" if self._shown_in(row[0], self._cells) else row[0], value)
        value = LINE.sub(lambda row: "" if self._shown_in(row[0], self._lines) else row[0], value)
        return self._distinct.sub(GONE, value) if self._distinct else value

    def _shown_in(self, row: str, short: re.Pattern[str]) -> bool:
        return bool(short.search(row)) or bool(self._distinct and self._distinct.search(row))

    def _may(self, value: str) -> bool:
        """A quick look: every form of a text holds its longest plain word."""
        lowered = value.lower()
        return any(word in lowered for word in self._words)

    @cached_property
    def _words(self) -> tuple[str, ...]:
        """Of each text a word that stands in every form of it, also of one that is cut; empty if it has none."""
        return tuple({_plain_word(text[: CUTS[-1]]) for text in self.wholes})

    @cached_property
    def _distinct(self) -> re.Pattern[str] | None:
        choices = [*map(_pattern, self.distinct), *(_pattern(text) + END for text in self.cuts)]
        return re.compile("|".join(choices), re.IGNORECASE) if choices else None

    @cached_property
    def _cells(self) -> re.Pattern[str]:
        """A text that fills a cell of a table in HTML, or its beginning there."""
        begun = (rf"{_pattern(text[: CUTS[-1]])}[^<]*\.\.\." for text in self.wholes if len(text) > HTML_LETTERS)
        texts = "|".join([*map(_pattern, self.wholes), *begun])
        return re.compile(rf"<td[^>]*class=\"text\"[^>]*><bdi>\s*(?:{texts})\s*(?:\[|</bdi>)", re.IGNORECASE)

    @cached_property
    def _lines(self) -> re.Pattern[str]:
        """A text that fills the last cell of a line of a table in Markdown, or stands there as an example."""
        texts = "|".join(map(_pattern, self.wholes))
        return re.compile(rf"(?:\|\s*|(?:given|before): )(?:{texts})(?:\s*\|\s*\Z|; | \\*\[)", re.IGNORECASE)


def _sorted(texts: Iterable[str]) -> tuple[str, ...]:
    """The texts with single blanks, the longest first: of two that begin alike it is the longer that stands there."""
    return tuple(sorted({" ".join(text.split()) for text in texts}, key=lambda text: (-len(text), text)))


def is_distinct(text: str) -> bool:
    """Whether a text is long enough to be told from what is no row; of a script without blanks, by its letters."""
    wide = sum(ord(letter) > 0x2E7F for letter in text)
    return (len(text.split()) >= WORDS and len(text) >= LETTERS) or wide >= LETTERS / 2


def _pattern(text: str) -> str:
    """What matches a text in every form."""
    bare = text.rstrip(" .!") or text
    words = [
        "".join(_letter(letter) for letter in re.findall(r".[\u0300-\u036f]*", word, re.DOTALL))
        for word in bare.split()
    ]
    return BLANK.join(words) + (r"[ .!]*" if bare != text else "(?![a-z0-9])")


def _letter(letter: str) -> str:
    """What matches a letter, with its accents composed or not, in any case."""
    forms = {letter, unicodedata.normalize("NFD", letter), letter.casefold()}
    choices = ["".join(map(_point, form)) for form in sorted(forms, key=len, reverse=True)]
    return choices[0] if len(choices) == 1 else f"(?:{'|'.join(choices)})"


def _point(point: str) -> str:
    """What matches one code point: itself, escaped for JSON, Markdown or Python, or an entity of HTML."""
    if point.isascii() and point.isalnum():
        return point
    number, units = ord(point), point.encode("utf-16-be", "surrogatepass").hex()
    names = [f"#0*{number}", f"#x0*{number:x}", *(html.entities.codepoint2name.get(number, "").split())]
    if point == "'":
        names.append("apos")
    whole = rf"{AMP}(?:{'|'.join(names)});"
    if point == "\\":
        return rf"(?:\\+|\\*{whole})"
    escaped = "".join(rf"\\+u{units[i : i + 4]}" for i in range(0, len(units), 4))
    python = [rf"\\+x{number:02x}"] if number < 256 else [rf"\\+U{number:08x}"] if number > 0xFFFF else []
    return rf"\\*(?:{'|'.join([whole, re.escape(point), escaped, *python])})"


def _plain_word(text: str) -> str:
    words = re.findall(r"[A-Za-z0-9]+", text.lower())
    return max(words, key=len, default="")
