"""What a manifest says of an erasure: enough to explain every digest, and nothing of the rows themselves."""

from pydantic import Field

from lifecycle.core.frozen import Frozen


class Erased(Frozen):
    """One erasure as one dataset version or batch has seen it."""

    erasure: str = Field(description="Its name: <state>/erasures/<name>.json says what else it touched.")
    at: str
    by: str
    reason: str
    rows: dict[str, int] = Field(description="Rows that went, by split, quarantine, scored or rejected.")
    positions: tuple[int, ...] = Field((), description="Where they stood among the rows of split.parquet, from 1.")
    before: dict[str, str] = Field(description="sha256 of the files that changed, as they were.")
    after: dict[str, str] = Field(description="And as they are.")
