"""Options that several commands share, each declared once."""

import re
from datetime import datetime, time
from typing import Annotated, Any

import typer

from lifecycle.core import secrets
from lifecycle.core.names import Environment, ModelType
from lifecycle.storage import files

HOST = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")


def _hosts(names: list[str] | None) -> list[str]:
    """Take names as `Host` has them."""
    for name in names or ():
        if not HOST.fullmatch(name):
            raise typer.BadParameter(f"{name!r} is no name or name:port; for example: mlops.example.com")
    return names or []


Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show Prefect's own log as well.")]
AllowedHosts = Annotated[
    list[str] | None,
    typer.Option(
        "--allowed-host",
        callback=_hosts,
        help="A further name by which it is reached, such as a proxy's; may be repeated.",
    ),
]
Env = Annotated[Environment, typer.Option("--env", help="Environment.")]
ModelName = Annotated[str, typer.Option("--model-name", help="Name of the model, without environment.")]
DataName = Annotated[str, typer.Option("--data-name", help="Name of the dataset.")]
DataVersion = Annotated[str, typer.Option("--data-version", help="Version of the dataset.")]


def sealed(value: str | None) -> str | None:
    """The address that a person gave; its secrets go no further than this process, which holds them by reference."""
    return value and secrets.sealed(value)


def folder(value: str | None) -> str | None:
    """The folder that a person gave, as its path; a URL that is none is named without its secrets."""
    return str(files.folder_of(secrets.sealed(value))) if value else value


SourceFile = Annotated[
    str,
    typer.Option(
        "--source",
        callback=sealed,
        help="Path or URL of the table: CSV, JSON Lines, Parquet, Delta; or catalog.schema.table.",
    ),
]
TextColumn = Annotated[str, typer.Option("--text-column", help="Column of the texts.")]
LabelColumn = Annotated[str, typer.Option("--label-column", help="Column of the labels.")]
TestSize = Annotated[float, typer.Option("--test-size", help="Fraction of the whole.")]
Holdout = Annotated[bool, typer.Option("--holdout/--no-holdout", help="Keep a holdout for the gate.")]
HoldoutSize = Annotated[float, typer.Option("--holdout-size", help="Fraction of the whole.")]
Stratify = Annotated[
    str | None, typer.Option("--stratify", help="Columns kept in proportion, such as \"['label']\"; default the label.")
]
GroupColumn = Annotated[
    str | None,
    typer.Option("--group-column", help="Column of which no value is on two sides, such as the customer."),
]
TimeColumn = Annotated[
    str | None,
    typer.Option("--time-column", help="Column by which the newest rows are held out: ISO dates or numbers."),
]
Format = Annotated[str | None, typer.Option("--format", help="csv, jsonl, parquet or delta; default by the suffix.")]
Encoding = Annotated[str, typer.Option("--encoding", help="Encoding of CSV and JSON Lines; it is never guessed.")]
Delimiter = Annotated[str, typer.Option("--delimiter", help="Delimiter of CSV: one character, or tab.")]
Type = Annotated[ModelType, typer.Option("--model-type", help="What to train.")]
Params = Annotated[
    str,
    typer.Option(
        "--model-params", help="Of the estimator, and of its vectoriser: \"{'alpha': 1.0, 'tfidf__min_df': 2}\"."
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Same data, parameters and seed give the same predictions.")]
LARGEST = 2**31 - 1
"""What the databases of registries can hold as a version."""
Version = Annotated[int | None, typer.Option("--version", max=LARGEST, help="Version number.")]
AliasName = Annotated[str | None, typer.Option("--alias", help="Alias, in any case.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Reason = Annotated[str, typer.Option("--reason", help="Recorded in the promotion log.")]


def day(value: str | None) -> str | None:
    """A day as the flow takes it, `2026-11-21`; a moment at midnight is one too."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        moment = None
    if moment is None or moment.time() != time() or value.isdigit():
        raise typer.BadParameter(f"{value!r:.100} is no day, such as 2026-11-21.")
    return str(moment.date())


def parameters(context: typer.Context) -> dict[str, Any]:
    """The options of a command as parameters of the flow that it starts: both use the same names."""
    return {name: value for name, value in context.params.items() if name not in {"as_json", "verbose"}}
