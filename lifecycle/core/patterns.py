"""Patterns of names and other texts in words: a person is told how to write something, never a regular expression."""

import re

from lifecycle.core.names import MODEL_PATTERN, NAME_PATTERN
from lifecycle.core.own_code import PATTERN
from lifecycle.core.secrets import SEALED

DELIMITER = r"^[^\"\r\n\x00]$"
WORDS = {
    NAME_PATTERN: "lower-case letters, digits, `_`, `.` and `-`, at most 64, not `.` or `-` first",
    MODEL_PATTERN: "letters, digits, `_`, `.` and `-`, at most 64, not `.` or `-` first",
    DELIMITER: "one character, or tab",
    SEALED: "a path, or a URL without a secret in it",
    f"^{PATTERN}$": "package.module:name",
    r"^-?[A-Za-z_][\w.]*:[A-Za-z_]\w*$": "module:function, or -module:function where less is better",
    r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$": "package.module",
    r"^[a-z0-9-]+/[a-z0-9-]+$": "type/name, as slack-webhook/alerts",
    r"^[a-z0-9-]+$": "lower-case letters, digits and `-`",
    r"^[a-z0-9_-]+$": "lower-case letters, digits, `_` and `-`",
    r"^[A-Za-z0-9_-]+$": "letters, digits, `_` and `-`",
    r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$": "letters, digits, `_` and `-`, at most 63, a letter or digit first",
    r"^\w+$": "letters, digits and `_`",
    "^/": "a path from the root, as /Shared/mlops",
    r"\S": "some text",
    r"^\S+( \S+){4}$": "the five fields of cron, such as 15 6 * * 1-5",
    r"^\{\{secrets/[\w.@-]+/[\w.@-]+\}\}$": "a secret of a scope, as {{secrets/scope/key}}",
    r"^[0-9a-f]{64}$": "a sha256: 64 digits of 0-9 and a-f",
}
"""Every pattern that a parameter or a setting must match."""


def told(pattern: str, text: object) -> str:
    """How a text is to be written that does not match a pattern, with one that does where it can be derived."""
    near = _near(pattern, text) if isinstance(text, str) else ""
    return f"write {WORDS.get(pattern, 'it otherwise')}{f', such as {near!r}' if near else ''}"


def without_patterns(text: str) -> str:
    """What another program says about a text that does not match, in words."""
    for pattern, words in WORDS.items():
        text = text.replace(f"does not match {pattern!r}", f"must be written with {words}")
    return text


def _near(pattern: str, text: str) -> str:
    """The name that somebody may have meant; empty if this is no name or nothing is left of it."""
    if pattern not in {NAME_PATTERN, MODEL_PATTERN} or "/" in text:
        return ""
    cased = text.lower() if pattern == NAME_PATTERN else text
    return re.sub("[^A-Za-z0-9_.-]+", "_", cased.strip()).strip("._-")[:64]
