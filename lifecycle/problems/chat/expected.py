"""What is expected of the answer to a question: the truth of an evaluation set, one cell of JSON per row."""

import json
import re
from typing import NamedTuple, Self

SEPARATORS = re.compile(r"[;\n]")
"""Between the names of documents in one cell."""


class Expected(NamedTuple):
    """What is known of a question before any model is asked.

    Attributes:
        question: As it is asked; an answer that only repeats it says nothing.
        documents: Those that tell the answer, by their paths in the folder; none if that is not known, or none does.
        answer: A reference answer; empty if there is none.
    """

    question: str
    documents: tuple[str, ...] = ()
    answer: str = ""

    @property
    def is_answerable(self) -> bool:
        """Whether the documents tell it; else it is right to refuse."""
        return bool(self.documents or self.answer)

    @property
    def cell(self) -> str:
        """The same as one text, which is the same for the same expectations."""
        return json.dumps(self._asdict(), ensure_ascii=False, sort_keys=True)

    @classmethod
    def of(cls, cell: str) -> Self:
        """What a cell says.

        Raises:
            ValueError: It is none.
        """
        held = json.loads(cell)
        return cls(str(held["question"]), tuple(map(str, held["documents"])), str(held["answer"]))

    @property
    def told(self) -> str:
        """The same for people."""
        if not self.is_answerable:
            return "not in the documents"
        return self.answer or f"from {', '.join(self.documents)}"


def documents_of(cell: str) -> tuple[str, ...]:
    """The documents that a cell of a table names, each once, in the order of their names: a list in JSON, or with `;`.

    Raises:
        ValueError: One cannot be a file below a folder.
    """
    named = json.loads(cell) if cell.startswith("[") else SEPARATORS.split(cell)
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise ValueError(f"{cell!r:.80} is no list of documents")
    names = sorted({name.strip().removeprefix("./") for name in named} - {""})
    for name in names:
        if name.startswith(("/", "~")) or "\\" in name or ".." in name.split("/"):
            raise ValueError(f"{name!r:.80} is no path within the folder of documents")
    return tuple(names)
