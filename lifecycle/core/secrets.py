"""Secrets travel by reference: what is stored, shown or sent holds `${MLOPS_SECRET_…}` where a secret would stand.

In the address of a table, what stands before an `@`, after a `?` or after a `#` is taken for a secret. Whoever has to
write one down, in a deployment, a schedule or a job, writes the reference and gives the variable of that name to the
process that reads the table. Where a person gives the secret itself, this process keeps it and goes on with a
reference to it, so that neither parameters nor requests, results or manifests ever hold it.

`sealed`     the address with references, as it travels
`revealed`   the address as it opens the table: for the call that opens it, and for nothing else
`public`     the address without what is secret: what a manifest says
`server`     the public address of a tracking server, by which it is known from then on
`reachable`  the address by which MLflow's client reaches that server

Only variables that begin with `MLOPS_SECRET_` can be named: whoever may start a run must not read all of a worker's.
"""

import os
import re
from collections.abc import Callable
from itertools import count
from threading import Lock
from typing import NamedTuple
from urllib.parse import quote, unquote

from lifecycle.core.errors import ConfigError
from lifecycle.core.masking import WHOLE, know

PREFIX = "MLOPS_SECRET_"
REFERENCE = re.compile(r"\$\{(MLOPS_SECRET_[A-Z0-9_]+)\}")

_ONE = r"\$\{MLOPS_SECRET_[A-Z0-9_]+\}"
_USER = rf"(?:{_ONE}(?::{_ONE})?@)"
_PAIR = rf"(?:[^=&#?$]*=)?(?:{_ONE}|\{{logical_date\}})"
_SCHEME = rf"(?:[hH][tT][tT][pP][sS]?://{_USER}?|(?![hH][tT][tT][pP])[A-Za-z][A-Za-z0-9+.-]*://(?:{_USER}|[^:/?#@]+@)?)"
_PLACE = r"(?:\[[^\]/?#@]*\]|[^:/?#@\[]*)(?::\d*)?(?:/(?:(?!://|::)[^?#])*)?"
_QUERY = rf"{_PAIR}(?:&{_PAIR})*"
_NEXT = r"::(?=[A-Za-z][A-Za-z0-9+.-]*://)"
_URL = rf"{_SCHEME}{_PLACE}(?:\?(?:{_QUERY})?)?(?:#(?:{_ONE})?)?"
SEALED = rf"^(?:{_URL}|(?:(?!://|{_NEXT})[\s\S])*)(?:{_NEXT}{_URL})*$"
"""What is no URL, or one without secrets. It stands in the forms of deployments too: a server stores no other one."""

SERVERS = ("MLOPS_TRACKING_URI", "MLOPS_REGISTRY_URI")
USERNAME, PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"

_is_sealed = re.compile(SEALED).fullmatch
_CHAIN = re.compile(_NEXT)
"""Between the addresses of a chain: `zip://news.csv::https://…`."""
_SCHEME_NAME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_AUTHORITY = re.compile(r"[^/?#]*")
_NO_PORT = re.compile(r"[^:\[]*:(?!\d*$)")
_UNFIT = re.compile(r"[/?#@]")
_EVERYDAY = re.compile(r"[\d.:TZ+-]+|\{logical_date\}")

_given: dict[str, str] = {}
"""The secrets that a person gave to this process, by the name of their reference."""
_servers: dict[str, str] = {}
"""The addresses of servers with their credentials, by their public form."""
_lock = Lock()


class _Address(NamedTuple):
    """A URL, taken apart; what is not there is None."""

    scheme: str
    user: str | None
    place: str
    query: str | None
    fragment: str | None

    def __str__(self) -> str:
        user = "" if self.user is None else f"{self.user}@"
        query = "" if self.query is None else f"?{self.query}"
        fragment = "" if self.fragment is None else f"#{self.fragment}"
        return f"{self.scheme}://{user}{self.place}{query}{fragment}"

    @property
    def is_open(self) -> bool:
        """Whether the user is but a name, such as the container before the account of Azure's storage."""
        return self.user is not None and ":" not in self.user and not self.scheme.lower().startswith("http")


def sealed(uri: str) -> str:
    """The address with references in place of what is secret in it, which this process keeps; again it is the same."""
    uri = uri.strip() if "://" in uri else uri  # in a path blanks are letters
    if _is_sealed(uri):
        return uri
    found = _each(uri, _sealed)
    return found if _is_sealed(found) else _keep("ADDRESS", uri)


def revealed(uri: str) -> str:
    """The address as it opens what it names.

    Raises:
        ConfigError: A variable that it refers to is not set here.
    """

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name in _given:
            return revealed(_given[name])
        if (held := os.environ.get(name)) is None:
            what = f"{uri} refers to the variable {name}, which is not set."
            raise ConfigError(what, f"Set it where the table is read: export {name}=…")
        know(held)
        return held

    return REFERENCE.sub(value, uri)


def public(uri: str) -> str:
    """The address without user, query and fragment; a reference in what is left of it is followed.

    Raises:
        ConfigError: A variable that it refers to there is not set here.
    """
    shown = _each(uri, _public)
    return public(revealed(shown)) if REFERENCE.search(shown) else shown


def given_here(text: str) -> list[str]:
    """The references in a text that only this process can follow: no other one was given what they stand for."""
    return sorted({name for name in REFERENCE.findall(text) if name in _given and name not in os.environ})


def require_sealed(name: str, value: object) -> None:
    """Refuse a parameter that would be stored with a secret in it.

    Raises:
        ConfigError: It is a URL with a user, a query or a fragment; the message has the same with references.
    """
    if isinstance(value, str) and (better := sealed(value)) != value:
        names = ", ".join(dict.fromkeys(REFERENCE.findall(better)))
        what = f"{name} would be stored with a secret: what stands before @, after ? or after # is taken for one."
        raise ConfigError(what, f"Give '{better}' in its place, and the worker the variables {names}.")


def server(uri: str) -> str:
    """The public address of a tracking server, a registry or its database; this process keeps the credentials in it.

    Those of a server of MLflow's become the variables that MLflow itself reads, unless they hold others already.

    Raises:
        ConfigError: A variable that it refers to is not set.
    """
    full = revealed(uri)
    found = _parsed(full)
    if found is None or found.place.startswith("/"):  # a file: in its path these signs mean nothing
        return full
    shown = str(found._replace(user=None, query=None, fragment=None))
    if shown != full:
        _know(found)
        with _lock:
            _servers[shown] = full
            if found.scheme.lower().startswith("http") and found.user:
                name, _, password = map(unquote, found.user.partition(":"))
                if os.environ.setdefault(USERNAME, name) == name:
                    os.environ.setdefault(PASSWORD, password)
    return shown


def reachable(shown: str) -> str:
    """The address by which a server is reached that is known by its public one: with what MLflow does not know already.

    In a process that has loaded no settings, such as the job of a step, its variables are asked.
    """
    if shown not in _servers:
        for name in SERVERS:
            server(os.environ.get(name, ""))
    full = _servers.get(shown, shown)
    found = _parsed(full)
    if found and found.scheme.lower().startswith("http") and found.query is None and found.fragment is None:
        name, _, password = map(unquote, (found.user or "").partition(":"))
        return shown if password and (os.environ.get(USERNAME), os.environ.get(PASSWORD)) == (name, password) else full
    return full


def _each(uri: str, change: Callable[[_Address], str]) -> str:
    """The URI with each address of its chain changed."""
    parts = [(part, _parsed(part)) for part in _CHAIN.split(uri)]
    return "::".join(change(found) if found else part for part, found in parts)


def _parsed(uri: str) -> _Address | None:
    """A URL taken apart, or None. A sign in a password that should have been encoded there is taken for part of it."""
    scheme, separator, rest = uri.partition("://")
    if not separator or not _SCHEME_NAME.fullmatch(scheme):
        return None
    authority = _AUTHORITY.match(rest)
    end = authority.end() if authority else 0
    at = rest.rfind("@", 0, end)
    if at < 0 and _NO_PORT.match(rest[:end]):
        at = rest.rfind("@")
    user, rest = (rest[:at], rest[at + 1 :]) if at >= 0 else (None, rest)
    rest, _, fragment = rest.partition("#") if "#" in rest else (rest, "", None)
    place, _, query = rest.partition("?") if "?" in rest else (rest, "", None)
    return _Address(scheme, user, place, query, fragment)


def _sealed(address: _Address) -> str:
    user, query, fragment = address.user, address.query, address.fragment
    if user and not address.is_open and not _only(_USER, f"{user}@"):
        user = _keep("USER", _UNFIT.sub(lambda sign: quote(sign[0], safe=""), user))
    if query and not _only(_QUERY, query):
        query = _keep("QUERY", query)
    if fragment and not _only(_ONE, fragment):
        fragment = _keep("FRAGMENT", fragment)
    _know(address)
    return str(address._replace(user=user, query=query, fragment=fragment))


def _public(address: _Address) -> str:
    return str(address._replace(user=address.user if address.is_open else None, query=None, fragment=None))


def _only(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text) is not None


def _keep(role: str, value: str) -> str:
    """Keep a secret in this process; returns the reference to it, the same for the same secret."""
    know(value)
    with _lock:
        for number in count(1):
            name = f"{PREFIX}{role}" if number == 1 else f"{PREFIX}{role}_{number}"
            if _given.get(name, os.environ.get(name, value)) == value:
                _given.setdefault(name, value)
                break
    return f"${{{name}}}"


def _know(address: _Address) -> None:
    """Have masked what opens the address; the user's name, dates and numbers stand elsewhere too."""
    if address.user and not address.is_open:
        know(address.user.partition(":")[2] or address.user)
    for pair in (address.query or "").split("&"):
        _, _, value = pair.partition("=")
        if len(value) >= WHOLE and not _EVERYDAY.fullmatch(value):
            know(value)
