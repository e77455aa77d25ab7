"""What to read: a table by its path, URL or name, and its declared form."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from lifecycle.core import secrets
from lifecycle.core.frozen import Frozen
from lifecycle.core.parameters import Delimiter, Format
from lifecycle.data import delta, piped

SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".json": "jsonl",
    ".ndjson": "jsonl",
}
"""The formats by the suffix of a file; any other one is CSV."""


class Source(Frozen):
    """A table and its declared form. Nothing about it is guessed but the format and compression, from the suffix."""

    uri: Annotated[str, AfterValidator(secrets.sealed)] = Field(
        description="A path, a URL of an allowed scheme, or catalog.schema.table; its secrets are held by reference."
    )
    format: Format | None = Field(None, description="Default: from the suffix, else csv; delta for a name of three.")
    encoding: str = Field("utf-8", description="Of CSV and JSON Lines.")
    delimiter: Delimiter = ","
    sha256: str | None = Field(None, description="Expected digest of the file; another one is an error.")

    @field_validator("uri")
    @classmethod
    def _from_home(cls, uri: str) -> str:
        """A shell leaves `~` as it is within a word, such as `--source=~/news.csv`."""
        return os.path.expanduser(uri) if uri.startswith("~") and not Path(uri).exists() else uri  # noqa: PTH111  # needs no home

    @property
    def name(self) -> str:
        """The last part of the path, of a pipe the whole: what messages call the file."""
        if (pipe := piped.original(self.uri)) != self.uri:
            return pipe
        return self.public_uri.rstrip("/").rsplit("/", 1)[-1]

    @property
    def public_uri(self) -> str:
        """The URI without query and user: signed URLs and passwords must not reach a manifest."""
        return secrets.public(piped.original(self.uri))

    @property
    def kind(self) -> str:
        """The format: declared, else by the suffix (under `.gz`), else CSV, unless it is the name of a table."""
        suffix = Path(self.name.removesuffix(".gz")).suffix.lower()
        by_name: Format = "delta" if self._has_name_of_table and not self.name.endswith(".gz") else "csv"
        return self.format or SUFFIXES.get(suffix, by_name)

    @property
    def is_in_catalog(self) -> bool:
        """Whether it is a table of a catalog, which only a Spark session can read."""
        return self.kind == "delta" and self._has_name_of_table

    @property
    def is_path(self) -> bool:
        """Whether it is a file or folder, of this machine or of a volume."""
        return "://" not in self.uri and secrets.public(self.uri) == self.uri and not self.is_in_catalog

    @property
    def _has_name_of_table(self) -> bool:
        return delta.is_name(delta.divided(self.uri)[0]) and not Path(self.uri).exists()

    def absolute(self) -> "Source":
        """The same table, whatever the working directory is."""
        return self.model_copy(update={"uri": str(Path(self.uri).absolute())}) if self.is_path else self
