"""Bring in a scikit-learn model that was pickled outside MLflow.

To unpickle is to run code, so the file must have the sha256 that a person vouches for, and even then it is read in a
child process alone. What skops can hold of trusted types becomes a skops file; anything else stays a pickle, and only
where that is asked for.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from string import hexdigits

from pydantic import ValidationError

from lifecycle.core import children
from lifecycle.core.errors import ConfigError, DataError, IntegrityError, NotFoundError, TransientError
from lifecycle.core.frozen import Frozen
from lifecycle.models.external.unpickle import ANSWER, CONVERTED
from lifecycle.models.pipelines import untrusted_types
from lifecycle.problems.text_classification.stored import EXAMPLE
from lifecycle.storage.files import publish_file, sha256_of
from mlops_lifecycle import start

LEAST_MEMORY_MB = 1024
"""What scikit-learn, pandas and MLflow need to be imported, with room for a small model."""
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
SAMPLES = (
    *EXAMPLE,
    "The company will hold its annual meeting in Helsinki",
    "not good, not bad",
    "Ärger über höhere Zölle 📉",
    "x",
)
"""On these the converted model must predict what the original does."""


class Pickled(Frozen):
    """A pickle or joblib file that a person vouches for, and how it may be read and kept."""

    path: Path
    sha256: str
    allow_pickle: bool = False
    memory_limit_mb: int = 2048
    timeout_seconds: int = 120


class Converted(Frozen):
    """A model from outside that may be logged: `pipeline.skops`, or the original bytes as `pipeline.pkl`."""

    path: Path
    sha256: str
    source_sha256: str
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """What a person should know, such as another version of scikit-learn."""
    untrusted: tuple[str, ...] = ()
    """The types for which it stayed a pickle."""

    @property
    def is_pickle(self) -> bool:
        """Whether to load it is to run its code."""
        return self.path.suffix == ".pkl"


class Answer(Frozen):
    """What the child process found."""

    error: str = ""
    fix: str = ""
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    untrusted: tuple[str, ...] = ()
    reason: str = ""
    """Why it does not convert; empty if it did."""


def convert(pickled: Pickled, folder: Path, samples: Sequence[str] = SAMPLES) -> Converted:
    """Turn a pickled model into a file of `folder` that the contract of text models can hold.

    Another version of scikit-learn is a note and no error: the gate measures here what the model predicts here.

    Raises:
        NotFoundError: There is no such file.
        ConfigError: The sha256 is none, or a limit is too low.
        IntegrityError: The file has another sha256, or holds types that are not trusted and may not stay a pickle.
        DataError: It is not a fitted text classifier, or reading it breaks a limit.
        TransientError: Somebody ended the process that read it, as the system does when memory is short.
    """
    expected, path = _checked(pickled), pickled.path
    with tempfile.TemporaryDirectory(prefix="mlops-external-") as temporary:
        work = Path(temporary)
        (work / "child").mkdir()
        source = work / "source"
        shutil.copyfile(path, source)  # between the check and the use nobody else can change it
        _same_digest(path, source, expected)
        answer = _ask(pickled, source, work / "child", samples)
        _same_digest(path, source, expected)  # it could reach it
        if answer.error:
            raise DataError(f"{path}: {answer.error}", answer.fix)
        kept = _kept(path, work, answer, pickled.allow_pickle)
        final = folder / ("pipeline.pkl" if answer.reason else "pipeline.skops")
        folder.mkdir(parents=True, exist_ok=True)
        with publish_file(final) as published:
            shutil.copyfile(kept, published)
    return Converted(
        path=final,
        sha256=sha256_of(final),
        source_sha256=expected,
        classes=answer.classes,
        notes=answer.notes,
        untrusted=answer.untrusted,
    )


def _checked(pickled: Pickled) -> str:
    """The expected digest in lower case, after checking what a person gave."""
    expected, path = pickled.sha256.strip().lower(), pickled.path
    memory, seconds = pickled.memory_limit_mb, pickled.timeout_seconds
    if not path.is_file():
        raise NotFoundError(f"No file {path}.", "Name the pickled model.")
    if len(expected) != 64 or not set(expected) <= set(hexdigits):
        what = f"{pickled.sha256!r:.100} is not a sha256."
        raise ConfigError(what, f"See, where the file comes from: sha256sum {path.name}")
    if memory < LEAST_MEMORY_MB or seconds < 1:
        what = f"memory_limit_mb={memory}, timeout_seconds={seconds}: scikit-learn cannot start."
        raise ConfigError(what, f"Give at least --memory-limit-mb {LEAST_MEMORY_MB} --timeout-seconds 1")
    return expected


def _same_digest(path: Path, copy: Path, expected: str) -> None:
    found = sha256_of(copy)
    if found != expected:
        what = f"{path} has sha256 {found}, not {expected}; nothing of it was kept."
        raise IntegrityError(what, "Get the file again, or its digest from whoever made it.")


def _ask(pickled: Pickled, source: Path, folder: Path, samples: Sequence[str]) -> Answer:
    """Let a child process read the file; whatever it does, this ends in time with an answer or a clear error."""
    request = {
        "parent": os.getpid(),
        "source": str(source),
        "samples": list(samples),
        "memory_limit_mb": pickled.memory_limit_mb,
        "timeout_seconds": pickled.timeout_seconds,
        "more_memory": f"If you expect that of it: --memory-limit-mb {pickled.memory_limit_mb * 2}",
    }
    command = start.command("lifecycle.models.external.unpickle", json.dumps(request))
    with (folder.parent / "stderr").open("wb") as said:
        process = subprocess.Popen(  # noqa: S603  our own interpreter and module
            command,
            cwd=folder,
            env=_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )
        try:
            code = process.wait(pickled.timeout_seconds)
        except subprocess.TimeoutExpired:
            code = -signal.SIGXCPU
        finally:
            _end_group(process)
    if code == -signal.SIGXCPU:
        fix = f"If you expect that of it: --timeout-seconds {pickled.timeout_seconds * 5}"
        raise DataError(f"{pickled.path}: reading it did not end within {pickled.timeout_seconds} s.", fix)
    return _answer(pickled.path, folder, code)


def _environment(folder: Path) -> dict[str, str]:
    """What the child may know: where programs are, and nothing of who we are or what we may do."""
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {
        **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
        **single,  # each thread reserves memory, which is limited
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    """End the child and all that it started in its session."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _answer(path: Path, folder: Path, code: int) -> Answer:
    try:
        return Answer.model_validate_json((folder / ANSWER).read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError):
        if children.from_outside(code):
            what = f"{path}: the process that read it {children.ended(code)}; nothing of it was kept."
            raise TransientError(what, "Give the command again, with more memory free.") from None
        said = (folder.parent / "stderr").read_bytes()[-2000:].decode("utf-8", "replace").strip().splitlines()
        reason = f" ({said[-1][:200]})" if said else ""
        what = f"{path}: the process that read it gave no answer, it {children.ended(code)}{reason}."
        raise DataError(what, "Do not use this file, unless that is explained.") from None


def _kept(path: Path, work: Path, answer: Answer, allow_pickle: bool) -> Path:
    """The file to keep: what the child made, if it holds what it must, else the original if that is asked for."""
    if answer.reason:
        if not allow_pickle:
            fix = "If you trust it, keep it as a pickle, whose code runs whenever it is loaded: --allow-pickle"
            raise IntegrityError(f"{path} {answer.reason}.", fix)
        return work / "source"
    made = work / "child" / CONVERTED
    try:
        untrusted = untrusted_types(made)
    except ValueError as error:
        raise IntegrityError(f"{path}: what its code left is not a skops file: {error}.", "Do not use it.") from None
    if untrusted:  # the child said that there are none
        raise IntegrityError(f"{path} tampers with its own conversion: {', '.join(untrusted[:5])}.", "Do not use it.")
    return made
