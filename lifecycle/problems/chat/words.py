"""Texts as a chain compares and quotes them: words that say what a text is about, and sentences that can be answers."""

import re
from typing import Any

WORD = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17d3\u3040-\u30ff\u3400-\u9fff]"  # scripts that put no blanks between words
    r"|[^\W_]+"
)
NO_CONTENT = frozenset(
    WORD.findall(
        "a an and any are as at be been but by can could did do does for from had has have how i if in into is it its "
        "may me might must my of on or our shall should so some such than that the their them then there these they "
        "this those to us was we were what when where which while who whom whose why will with would you your about "
        "der die das und ist sind ein eine wie was wer wo wann warum welche welcher mit von zu im in auf für"
    )
)
"""Words that a question is asked with, and that say nothing of what it is about."""
SENTENCE = re.compile(r"(?<=[.!?。!?])\s+")
BLOCK = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*>|#]|\d+[.)])\s?)")
FENCE, LINK = re.compile(r"^\s*(?:```|~~~).*$", re.MULTILINE), re.compile(r"!?\[([^\]]*)\]\([^)\s]*\)")
MARKS, ROW_MARKS = "*->•·,# \n", "|-: "
SHORTEST_SENTENCE = 3


def words(text: str) -> list[str]:
    """The words of a text that say what it is about, without regard to case or an English plural."""
    return [_singular(word) for word in WORD.findall(text.casefold()) if word not in NO_CONTENT]


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def indexed(chunk: dict[str, Any]) -> str:
    """What a passage is found by: what it says, and under which headings."""
    return f"{chunk['title']}\n{chunk['section']}\n{chunk['text']}"


def sentences(passage: str) -> list[str]:
    """What of a passage can be quoted: its sentences, rows of tables and lines of code, without marks and headings."""
    quotable = list[str]()
    for block in BLOCK.split(FENCE.sub("\n\n", passage)):
        if not LINK.sub("", block).strip(MARKS):  # a table of contents
            continue
        text = " ".join(LINK.sub(r"\1", block).replace("**", "").split())
        if text.startswith("|"):
            quotable.append(_row(text))
        elif not text.startswith("#"):
            quotable += SENTENCE.split(text.lstrip(MARKS))
    return [text for text in quotable if len(text.split()) >= SHORTEST_SENTENCE]


def _row(text: str) -> str:
    """A row of a table as a sentence, its first cell as what the others tell of; nothing of the line below a header."""
    cells = [cell.strip() for cell in text.replace(r"\|", "\0").strip("| ").split("|")]
    if not set(text) - {*ROW_MARKS}:
        return ""
    first, others = cells[0], "; ".join(cell for cell in cells[1:] if cell)
    return (f"{first}: {others}" if first and others else first or others).replace("\0", "|")
