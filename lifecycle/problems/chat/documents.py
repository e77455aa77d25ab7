"""A folder of documents as it is read: Markdown, plain text, HTML and PDF, each as text with its headings."""

import hashlib
import logging
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from lifecycle.core.errors import ConfigError, DataError, NotFoundError
from lifecycle.storage import volumes

logger = logging.getLogger(__name__)

PAGE = "\f"
"""What stands between the pages of a document, as in what other tools make of a PDF."""
MOST_BYTES, MOST_DOCUMENTS = 20 * 2**20, 20_000
SHOWN = 10
CHAT_MISSING = "Install it: pip install 'mlops-lifecycle[chat]'"
HEADINGS = {f"h{level}": level for level in range(1, 7)}
NO_TEXT = ("script", "style", "noscript", "template", "nav", "svg")


class Document(NamedTuple):
    """One document.

    Attributes:
        id: Its path within the folder.
        title: Its first heading, or the name of its file.
        text: Its text; headings are lines that begin with `#`, pages have a form feed between them.
    """

    id: str
    title: str
    text: str


def read(folder: Path) -> tuple[Document, ...]:
    """Every document of a folder and the folders in it, in the order of their names.

    Hidden files and files of other kinds are passed over; an empty document is left out, with a warning.

    Raises:
        NotFoundError: There is no such folder.
        DataError: None is in it, or some cannot be read; each is named.
        ConfigError: What reads HTML or PDF is not installed.
    """
    try:
        here = volumes.local(folder)
    except NotFoundError:
        here = folder
    if not here.is_dir():
        raise NotFoundError(f"There is no folder {folder} of documents.", "Name the one that holds them.")
    found, wrong = list[Document](), dict[str, str]()
    for path in _paths(here):
        name = path.relative_to(here).as_posix()
        try:
            document = _read(path, name, here.resolve())
        except (ValueError, OSError) as error:
            wrong[name] = " ".join(str(error).split())[:200]
            continue
        if document.text.strip(f" \n{PAGE}"):
            found.append(document)
        else:
            logger.warning("%s holds no text and is left out", name)
    _require_sound(folder, found, wrong)
    return tuple(found)


def digest(documents: Iterable[Document]) -> str:
    """The sha256 of what was read, wherever the folder lies."""
    total = hashlib.sha256()
    for document in documents:
        total.update(repr(tuple(document)).encode("utf-8", "backslashreplace"))
    return total.hexdigest()


def _paths(folder: Path) -> list[Path]:
    """The documents of a folder.

    Raises:
        DataError: They are too many.
    """
    every = (path for path in folder.rglob("*") if path.suffix.lower() in READERS)
    parts = ((path, path.relative_to(folder).parts) for path in every)
    paths = [path for path, names in parts if not any(name.startswith(".") for name in names) and not path.is_dir()]
    if len(paths) > MOST_DOCUMENTS:
        what = f"{folder} holds {len(paths):,} documents, more than {MOST_DOCUMENTS:,}."
        raise DataError(what, "Name a folder that holds only what is to be answered from.")
    return sorted(paths, key=lambda path: path.relative_to(folder).as_posix())


def _require_sound(folder: Path, found: list[Document], wrong: dict[str, str]) -> None:
    if wrong:
        told = "; ".join(f"{name}: {reason}" for name, reason in list(wrong.items())[:SHOWN])
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        fix = "Correct these files, or take them out of the folder."
        raise DataError(f"{len(wrong)} of the documents in {folder} cannot be read: {told}{more}.", fix)
    if not found:
        kinds = ", ".join(READERS)
        raise DataError(f"{folder} holds no document with text ({kinds}).", "Name the folder that holds them.")


def _read(path: Path, name: str, root: Path) -> Document:
    """One document.

    Raises:
        ValueError: It is a link out of the folder, too large, or is not what its name says.
        OSError: The machine refuses it.
    """
    if not path.resolve().is_relative_to(root):
        raise ValueError("it is a link that leads out of the folder")
    if not path.is_file():
        raise ValueError("it is no file")
    if (size := path.stat().st_size) > MOST_BYTES:
        raise ValueError(f"it has {size:,} bytes, more than {MOST_BYTES:,}")
    text = READERS[path.suffix.lower()](path.read_bytes())
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return Document(name, _title(text) or path.stem, text)


def _title(text: str) -> str:
    headings = (line.lstrip("#").strip() for line in text.splitlines() if line.startswith("#"))
    return next((heading for heading in headings if heading), "")[:200]


def _plain(content: bytes) -> str:
    """Text in UTF-8, or in UTF-16 that says so."""
    marked = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = content.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 (byte {error.start:,}): convert it") from None
    if "\x00" in text:
        raise ValueError("it is a binary file")
    return text


def _html(content: bytes) -> str:
    """The text of a page, its headings as those of Markdown; what is no text of it is left out."""
    try:
        from bs4 import BeautifulSoup
    except ImportError:
        raise ConfigError("To read HTML needs the package beautifulsoup4.", CHAT_MISSING) from None
    if b"\x00" in content[:1000] and not content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("it is a binary file")
    page = BeautifulSoup(content, "html.parser")
    for element in page(list(NO_TEXT)):
        element.decompose()
    for name, level in HEADINGS.items():
        for element in page(name):
            element.replace_with(f"\n\n{'#' * level} {' '.join(element.get_text(' ').split())}\n\n")
    for element in page(["p", "li", "tr", "div", "br", "pre", "section", "td", "th"]):
        element.append("\n\n" if element.name in {"p", "div", "section"} else "\n" if element.name != "td" else " ")
    lines = (" ".join(line.split()) for line in (page.body or page).get_text().splitlines())
    return _titled(page.title.get_text() if page.title else "", "\n".join(lines))


def _titled(title: str, text: str) -> str:
    """A text under its title, where it has no heading of its own."""
    title = " ".join(title.split())
    return text if not title or _title(text) else f"# {title}\n\n{text}"


def _pdf(content: bytes) -> str:
    """The text of a PDF, page by page; one that is encrypted or no PDF cannot be read."""
    try:
        from pypdf import PdfReader
    except ImportError:
        raise ConfigError("To read PDF needs the package pypdf.", CHAT_MISSING) from None
    try:
        pages = PdfReader(BytesIO(content))
        if pages.is_encrypted:
            raise ValueError("it is encrypted")
        return PAGE.join(page.extract_text() for page in pages.pages)
    except Exception as error:  # it raises whatever the file makes it run into
        raise ValueError(f"it is no PDF that can be read: {error}") from None


READERS: dict[str, Callable[[bytes], str]] = {
    ".md": _plain,
    ".markdown": _plain,
    ".txt": _plain,
    ".html": _html,
    ".htm": _html,
    ".pdf": _pdf,
}
"""What reads a kind of document, by the end of its name."""
