"""What the MLmodel file of a folder says: it is data from whoever has written it, and may be made to harm."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lifecycle.core.errors import IntegrityError
from lifecycle.models.pipelines import DO_NOT_USE, said

if TYPE_CHECKING:
    from mlflow.models import Model

FILE = "MLmodel"
MOST_DESCRIPTION = 1_000_000


def description(folder: Path, label: str) -> dict[str, Any]:
    """What a model's MLmodel file says.

    Raises:
        IntegrityError: It is not there, or no such file of a sensible size.
    """
    path = folder / FILE
    try:
        if path.stat().st_size > MOST_DESCRIPTION:
            raise ValueError(f"it has more than {MOST_DESCRIPTION:,} bytes")
        found = yaml.load(path.read_text(encoding="utf-8"), _Plain)  # noqa: S506  a safe loader, and more than that
        if not isinstance(found, dict):
            raise ValueError(f"it holds a {type(found).__name__}")
    except Exception as error:  # the parser raises whatever the text makes it run into
        raise IntegrityError(f"{label}: its MLmodel file cannot be read: {said(error)}.", DO_NOT_USE) from None
    return found


def as_mlflow(folder: Path, label: str) -> "Model":
    """MLflow's own reading of a description: the signature, for those who check queries by it.

    Raises:
        IntegrityError: It cannot be read.
    """
    from mlflow.models import Model

    description(folder, label)
    try:
        return Model.load(str(folder))
    except Exception as error:
        raise IntegrityError(f"{label}: its MLmodel file cannot be read: {said(error)}.", DO_NOT_USE) from None


class _Plain(yaml.SafeLoader):
    """YAML without merged mappings: nested, a few lines of them become more than fits into memory."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuse what is to be merged."""
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise yaml.constructor.ConstructorError(None, None, "merged mappings are not read", node.start_mark)
