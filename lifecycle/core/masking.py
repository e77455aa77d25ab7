"""The last net under secrets: what is known to be one is `***` in every message, log line and traceback of ours.

No secret should come that far: `lifecycle.core.secrets` keeps them out of what is stored. But libraries put addresses
into their messages, and nobody reads all of those. Known are the values that this process was given in an address
(`know`) and those of variables whose name or content says so. It imports nothing, so everything can use it.
"""

import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, wraps
from types import TracebackType
from typing import Any, ParamSpec, TypeVar
from urllib.parse import quote, unquote

P = ParamSpec("P")
R = TypeVar("R")

MASK = "***"
SHORTEST = 4
"""A shorter value is no secret, and stands everywhere."""
WHOLE = 8
"""A shorter secret is masked where it stands alone: `pass` is not masked in `passed`."""
SECRET_WORDS = frozenset(
    (
        *("APIKEY", "AUTH", "CREDENTIAL", "CREDENTIALS", "DSN", "KEY", "KEYS", "PASS", "PASSPHRASE", "PASSWD"),
        *("PASSWORD", "PASSWORDS", "SAS", "SECRET", "SECRETS", "TOKEN", "TOKENS", "WEBHOOK"),
    )
)
"""A variable with one of these in its name holds a secret."""
NO_SECRET_WORDS = frozenset(("COMMAND", "DIR", "FILE", "HOME", "METHOD", "PATH", "SOCK", "TYPE"))
"""A variable whose name ends so says where a secret is, or of which kind it is."""
NESTED = re.compile(r"MLOPS_\w+__")
"""A variable that begins so is a setting of a group, and may name a block of credentials: none of them is a secret."""
ADDRESSES = ("MLOPS_ALERTS",)
"""Variables that begin so hold an address which is a secret itself, as that of a webhook is."""
PLAIN = frozenset(("true", "false", "none", "null", "basic", "bearer", "default", "password", "token", "secret"))

USER = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>[^\s/?#@'\"]*:[^\s/?#@'\"]*)@")
"""A user with a password in an address, whoever has given it."""
SIGNED = re.compile(
    r"(?P<name>[?&](?:x-(?:amz|goog)-(?:signature|credential|security-token)|sig|signature|(?:access_?|auth_?)?token|"
    r"(?:api_?)?key|password|secret)=)(?P<value>[^\s&#'\"]+)",
    re.IGNORECASE,
)
"""The part of an address that opens it, by its usual names."""

_known: set[str] = set()


def know(*values: str) -> None:
    """Remember that these are secrets of this process."""
    for value in values:
        _known.update(_spellings(value))


def masked(text: str) -> str:
    """The text with every known secret in it masked."""
    text = SIGNED.sub(rf"\g<name>{MASK}", USER.sub(rf"\g<scheme>{MASK}@", text))
    pattern = _pattern(frozenset(_known | set(_of_variables(os.environ.items()))))
    return pattern.sub(MASK, text) if pattern else text


def guard() -> None:
    """Mask every log record of this process, whoever writes and whoever shows it, and the traceback of its end."""
    sys.excepthook = _show
    if getattr(logging.getLogRecordFactory(), "masks", False):
        return
    made = logging.getLogRecordFactory()

    def factory(*args: Any, **values: Any) -> logging.LogRecord:
        return _masked_record(made(*args, **values))

    factory.masks = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(factory)


def shielded(function: Callable[P, R]) -> Callable[P, R]:
    """The same function; an error of a library that tells a secret leaves it as one that does not."""

    @wraps(function)
    def shield(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            if masked(said := _told(error)) == said:
                raise
            is_clean = masked(said := f"{error!r} {error}") == said  # then it is what it was made of that tells
            raise (error if is_clean else _plain(error)) from None

    return shield


def _plain(error: Exception) -> Exception:
    """An error of the same kind, as far as waiting may cure it, with a masked message and nothing else."""
    kinds = (ConnectionError, TimeoutError, OSError, ValueError)
    kind = next((kind for kind in kinds if isinstance(error, kind)), RuntimeError)
    return kind(masked(f"{type(error).__name__}: {error}"))


def _told(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def _spellings(value: str) -> set[str]:
    """A secret as it was given, decoded and encoded: libraries write it in any of these ways."""
    plain = unquote(value)
    found = {value, plain, quote(plain), quote(plain, safe=""), repr(plain)[1:-1]}
    return {each for each in found if len(each) >= SHORTEST and each.lower() not in PLAIN}


def _of_variables(variables: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, value in variables:
        if len(value) < SHORTEST or value.lower() in PLAIN:
            continue
        words = name.upper().split("_")
        is_secret = SECRET_WORDS.intersection(words) and words[-1] not in NO_SECRET_WORDS and not NESTED.match(name)
        if is_secret or (name.startswith(ADDRESSES) and "://" in value):
            yield from _spellings(value)
            _, separator, password = value.partition(":")
            if "AUTH" in words and separator:  # user:password
                yield from _spellings(password)
        elif found := USER.search(value):
            yield from _spellings(found["user"].partition(":")[2])


@lru_cache(maxsize=8)
def _pattern(secrets: frozenset[str]) -> re.Pattern[str] | None:
    if not secrets:
        return None
    longest_first = sorted(secrets, key=lambda each: (-len(each), each))
    return re.compile(
        "|".join(re.escape(s) if len(s) >= WHOLE else rf"(?<!\w){re.escape(s)}(?!\w)" for s in longest_first)
    )


def _masked_record(record: logging.LogRecord) -> logging.LogRecord:
    try:
        said = record.getMessage()
    except Exception:  # the handler reports what is wrong with the call
        return record
    if (shown := masked(said)) != said:
        record.msg, record.args = shown, ()
    if isinstance(record.exc_info, tuple) and record.exc_info[1]:
        told = _told(record.exc_info[1]).rstrip("\n")
        if (shown := masked(told)) != told:
            record.exc_text, record.exc_info = shown, None
    return record


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(masked("".join(traceback.format_exception(kind, error, trace))))
