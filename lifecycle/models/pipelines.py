"""Read a pipeline without trusting it: skops checks each type against its list and ours before it makes an object.

`trusted_types`     our list: what the tables of algorithms name
`untrusted_types`   what a file holds beyond it
`read_pipeline`     what a file holds, if it is made of what is trusted and opens no files
"""

import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from lifecycle.core import own_code
from lifecycle.core.errors import IntegrityError
from lifecycle.core.references import ModelRef
from lifecycle.models import own
from lifecycle.problems.known import PROBLEMS

MOST_EXPANDED, MOST_FOLD = 64 * 2**20, 300
"""A file that unpacks to more than both allow, bytes and times its size, is made to fill the memory."""
TRUST = "If the code that it brings may run here, name its modules in the environment's settings: trusted_modules."
OTHERWISE = (
    "A gate that needs it goes on once its files are back, or after mlops train --register, mlops promote --skip-gate."
)
DO_NOT_USE = f"Do not use this model; roll back or train again. {OTHERWISE}"
"""Where no earlier champion is whole either, a training alone leads nowhere: there is nothing to compare it with."""


def trusted_types() -> list[str]:
    """Our list of what a model may be made of beyond skops' own: what the tables of algorithms name."""
    tables = (problem.learning.estimators for problem in PROBLEMS.values())
    return sorted({name for table in tables for entry in table.values() for name in entry.trusted_types})


def untrusted_types(path: Path) -> list[str]:
    """The types in a skops file that are neither on skops' list nor on ours.

    Raises:
        ValueError: It is not a skops file.
    """
    import skops.io

    try:
        _require_sound(path)
        return sorted(set(skops.io.get_untrusted_types(file=path)) - set(trusted_types()))
    except Exception as error:  # skops and what it reads with raise whatever the file makes them run into
        raise ValueError(said(error)) from None


def _require_sound(path: Path) -> None:
    """Refuse an archive, or one in it, that unpacks to far more than it is.

    Raises:
        ValueError: It is one.
    """
    with ZipFile(path) as archive:
        _require_size(archive, path.stat().st_size)
        for member in archive.infolist():
            if member.filename.endswith(".npz"):
                with archive.open(member) as file, ZipFile(io.BytesIO(file.read())) as inner:
                    _require_size(inner, member.file_size)


def _require_size(archive: ZipFile, size: int) -> None:
    expanded = sum(member.file_size for member in archive.infolist())
    if expanded > max(MOST_EXPANDED, MOST_FOLD * size):
        raise ValueError(f"{size:,} bytes that unpack to {expanded:,}")


def said(error: Exception) -> str:
    """What a library says, in a line; without words, its kind."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def read_pipeline(path: Path, ref: ModelRef, read: Callable[[Path, Iterable[str]], Any]) -> Any:
    """What a skops file holds, if it is made of what we trust and opens no files.

    Raises:
        IntegrityError: It is not.
    """
    from skops.io.exceptions import UntrustedTypesFoundException

    from lifecycle.problems.text_classification import counting, hashing

    code = own.code_of(path.parents[1]) if ref.trusted_modules else {}
    try:
        _require_sound(path)
        # skops checks every type before it makes the first object; to ask for the types before reads the file twice
        types = own.trusted(untrusted_types(path), code, ref.trusted_modules) if ref.trusted_modules else []
        with own_code.importing(own.needed(code, types)):
            own.require_defined(types, code, ref.label)
            pipeline = read(path, [*trusted_types(), *types])
    except IntegrityError:
        raise
    except UntrustedTypesFoundException:
        shown = [kind for kind in untrusted_types(path) if kind not in types][:5]
        what = f"{ref.label}: holds types that are not trusted: {', '.join(shown)}."
        raise IntegrityError(what, TRUST if (path.parents[1] / own.CODE).is_dir() else "") from None
    except Exception as error:
        what = f"{ref.label}: {path.name} is not a pipeline stored with skops: {said(error)}."
        raise IntegrityError(what, DO_NOT_USE) from None
    if opens_files(pipeline):
        raise IntegrityError(f"{ref.label}: {path.name} takes texts for the names of files.", DO_NOT_USE)
    counting.quicken(pipeline)
    hashing.quicken(pipeline)
    return pipeline


def require_answers(pipeline: Any, ref: ModelRef, *names: str) -> None:
    """Refuse a pipeline that cannot answer.

    Raises:
        IntegrityError: It lacks one of these attributes.
    """
    if not all(hasattr(pipeline, name) for name in names):
        wanted = "classifier" if "classes_" in names else "regressor"
        what = f"{ref.label}: pipeline.skops holds a {type(pipeline).__name__}, no {wanted}."
        raise IntegrityError(what, DO_NOT_USE)


def opens_files(pipeline: Any) -> bool:
    """Whether a step reads the files that its input names, as scikit-learn's vectorisers do when they are told to."""
    from lifecycle.problems.text_classification.model import parts

    steps = (part for part in parts(pipeline) if hasattr(part, "get_params"))
    return any(getattr(step, "input", "content") != "content" for step in steps)
