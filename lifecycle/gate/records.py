"""The verdicts that `judge` has kept with a model's run, found again and checked against the digests they are named by.

One lies at `verdicts/<env>-<first 16 digits of its digest>.json`, its report beside it as `.html`; the run's tag
`verdict.<env>` names the latest. If rows that it shows were erased, a tag of the run says what it digests to since.
"""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from lifecycle.core.errors import ConfigError, IntegrityError, NotFoundError
from lifecycle.core.names import Environment
from lifecycle.core.references import ModelRef
from lifecycle.gate.verdict import Verdict
from lifecycle.tracking import artifacts, runs
from lifecycle.tracking.client import client, is_missing, translated

FOLDER = "verdicts"
DIGITS = 16
ERASED = "mlops.erased."
"""Followed by the name of a verdict, the tag of its run that says what it digests to since an erasure."""


class Record(NamedTuple):
    """One stored verdict: where it lies, and what it is called."""

    model: ModelRef
    env: Environment
    digest: str
    """The first digits of it."""

    @property
    def artifact(self) -> str:
        """The path within the run's artifacts, without suffix."""
        return f"{FOLDER}/{self.env}-{self.digest}"


def find(model: ModelRef, env: Environment, digest: str = "") -> Record:
    """A verdict of an environment on a model: the one whose digest begins so, else the latest.

    Raises:
        NotFoundError: The model was never judged there, or not with this digest.
    """
    known = every(model, env)
    if not known:
        what = f"{model.label} was never judged in {env}: no verdict is stored with it."
        raise NotFoundError(what, "Judge it: mlops gate check, with the same options.")
    wanted = digest.lower()[:DIGITS] or _latest(model, env)
    found = [record for record in known if record.digest.startswith(wanted)]
    if digest and len(found) != 1:
        there = ", ".join(record.digest for record in known)
        raise NotFoundError(f"{len(found)} verdicts of {env} on {model.label} begin with {digest}.", f"It has: {there}")
    return (found or known)[0]


def every(model: ModelRef, env: Environment) -> list[Record]:
    """All stored verdicts of an environment on a model, in the order of their digests.

    Raises:
        NotFoundError: The model's run is not there.
    """
    return [record for record in _stored(model) if record.env == env]


def _stored(model: ModelRef) -> list[Record]:
    """All verdicts that are stored with a model, of all environments."""
    try:
        paths = [Path(name) for name in artifacts.names(model.tracking_uri, model.run_id, FOLDER)]
    except Exception as error:
        if not is_missing(error):
            raise
        raise NotFoundError(
            f"The run of {model.label} is gone, and its verdicts with it.", "See: mlops history"
        ) from None
    names = [path.stem.rpartition("-") for path in paths if path.suffix == ".json"]
    return [Record(model, Environment(env), digest) for env, _, digest in sorted(names)]


def named_by(model: ModelRef, digest: str) -> Record | None:
    """The verdict of a digest, in whichever environment it was given; None if it is not stored with the model."""
    found = _stored(model) if digest else ()
    return next((record for record in found if digest.startswith(record.digest)), None)


def read(record: Record) -> Verdict:
    """The verdict of a record.

    Raises:
        IntegrityError: The file is not what its name says: it was changed since the verdict was given.
        ConfigError: Another version of this project wrote it, and this one does not read it.
    """
    text = _content(record, ".json")
    try:
        content = json.loads(text)
    except ValueError as error:
        raise _changed(record, f"it is not JSON: {error}") from None
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    if not digest.startswith(record.digest) and digest != _erased(record):
        raise _changed(record, f"its content digests to {digest[:DIGITS]}")
    try:
        return Verdict.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        what = f"{record.artifact}.json has another form: {'.'.join(map(str, first['loc']))}: {first['msg']}."
        raise ConfigError(what, "Read it with the version of this project that wrote it.") from None


def report(record: Record) -> bytes:
    """The HTML report of a verdict.

    Raises:
        IntegrityError: It is not there.
    """
    return _content(record, ".html")


def explain(tracking_uri: str, run_id: str, name: str, digest: str) -> None:
    """Let a run say what one of its verdicts, `<env>-<first digits>`, digests to once rows are erased from it."""
    with translated():
        client(tracking_uri).set_tag(run_id, f"{ERASED}{name}", digest)


def _erased(record: Record) -> str:
    """What a verdict digests to since rows were erased from it; empty if none were."""
    return runs.tags(record.model.tracking_uri, record.model.run_id).get(f"{ERASED}{record.env}-{record.digest}", "")


def _latest(model: ModelRef, env: Environment) -> str:
    return runs.tags(model.tracking_uri, model.run_id).get(f"verdict.{env}", "")[:DIGITS]


def _content(record: Record, suffix: str) -> bytes:
    return artifacts.read(record.model.tracking_uri, record.model.run_id, f"{record.artifact}{suffix}")


def _changed(record: Record, how: str) -> IntegrityError:
    what = f"{record.artifact}.json of {record.model.label} is not the verdict that was given: {how}."
    return IntegrityError(what, "Do not rely on it; judge again: mlops gate check")
