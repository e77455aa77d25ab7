"""Documents in pieces that can be found and shown: along headings and paragraphs, none much longer than a size."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lifecycle.problems.chat.documents import PAGE, Document

HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*\s*$")
FENCE = re.compile(r"^\s*(```|~~~)")
SENTENCE_END = re.compile(r"(?<=[.!?。!?])\s+|\n+")


class Chunk(NamedTuple):
    """A piece of a document.

    Attributes:
        document: The document's id.
        title: The document's title.
        section: The headings above it, the outermost first.
        page: Where the document has pages, from 1; else 0.
        text: What it says.
    """

    document: str
    title: str
    section: str
    page: int
    text: str


def chunks(documents: Iterable[Document], size: int, overlap: int) -> list[Chunk]:
    """All pieces of documents, in their order.

    Args:
        documents: What is cut.
        size: Characters that a piece has at most.
        overlap: Characters of the end of a piece that the next one of the same section begins with, about.
    """
    found = list[Chunk]()
    for document in documents:
        pages = document.text.split(PAGE)
        for place, page in enumerate(pages, 1):
            for section, text in _sections(page):
                said = {"section": section, "page": place if len(pages) > 1 else 0}
                for piece in pieces(text, size, overlap):
                    found.append(Chunk(document.id, document.title, text=piece, **said))  # type: ignore[arg-type]
    return found


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """The texts between headings, each with the headings above it; what stands in a block of code is no heading."""
    above, held, is_code = dict[int, str](), list[str](), False
    for line in text.splitlines():
        is_code ^= bool(FENCE.match(line))
        heading = None if is_code else HEADING.match(line)
        if heading is None:
            held.append(line)
            continue
        yield " > ".join(above.values()), "\n".join(held)
        level, held = len(heading[1]), []
        above = {depth: name for depth, name in above.items() if depth < level} | {level: heading[2]}
    yield " > ".join(above.values()), "\n".join(held)


def pieces(text: str, size: int, overlap: int) -> list[str]:
    """A text in pieces of whole paragraphs where they fit, else of sentences, else of words."""
    made, held = list[str](), ""
    for part in _parts(text, size):
        if held and len(held) + 2 + len(part) > size:
            made.append(held)
            held = _tail(held, min(overlap, max(size - len(part) - 2, 0)))
        held = f"{held}\n\n{part}" if held else part
    return [*made, held] if held else made


def _parts(text: str, size: int) -> Iterator[str]:
    """Paragraphs, or what they are made of where one is longer than the size."""
    for paragraph in re.split(r"\n\s*\n", text):
        if len(whole := paragraph.strip("\n").rstrip()) <= size:
            if whole:
                yield whole
            continue
        held = ""
        for before, part in _small(whole, size):
            if held and len(held) + 1 + len(part) > size:
                yield held
                held = ""
            held = f"{held}{before}{part}" if held else part
        if held:
            yield held


def _small(paragraph: str, size: int) -> Iterator[tuple[str, str]]:
    """Sentences or words, each behind what stands before it: rows of a table and points of a list stay lines."""
    for line in paragraph.splitlines():
        parts = [part for sentence in SENTENCE_END.split(line) for part in _cut(sentence, size)]
        yield from zip(("\n", *(" " for _ in parts)), parts, strict=False)


def _cut(sentence: str, size: int) -> list[str]:
    """A sentence, at blanks where it is too long, and anywhere where there are none."""
    left, made = sentence.strip(), list[str]()
    while len(left) > size:
        at = left.rfind(" ", 1, size + 1)
        at = size if at < 1 else at
        made.append(left[:at])
        left = left[at:].strip()
    return [*made, left] if left else made


def _tail(text: str, overlap: int) -> str:
    """The last whole sentences of a text within a length."""
    kept = ""
    for sentence in reversed([part for part in SENTENCE_END.split(text) if part.strip()]):
        if len(kept) + 1 + len(sentence) > overlap:
            break
        kept = f"{sentence} {kept}" if kept else sentence
    return kept
