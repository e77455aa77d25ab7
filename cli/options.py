"""Options that several commands share, each declared once."""

from typing import Annotated, Any

import typer

from lifecycle.names import Environment, ModelType

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show Prefect's own log as well.")]
Env = Annotated[Environment, typer.Option("--env", help="Environment.")]
ModelName = Annotated[str, typer.Option("--model-name", help="Name of the model, without environment.")]
DataName = Annotated[str, typer.Option("--data-name", help="Name of the dataset.")]
DataVersion = Annotated[str, typer.Option("--data-version", help="Version of the dataset.")]
SourceFile = Annotated[
    str,
    typer.Option(
        "--source", help="Path or URL of the table: CSV, JSON Lines, Parquet, Delta; or catalog.schema.table."
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
Format = Annotated[str | None, typer.Option("--format", help="csv, jsonl, parquet or delta; default by the suffix.")]
Encoding = Annotated[str, typer.Option("--encoding", help="Encoding of CSV and JSON Lines; it is never guessed.")]
Delimiter = Annotated[str, typer.Option("--delimiter", help="Delimiter of CSV: one character, or tab.")]
Type = Annotated[ModelType, typer.Option("--model-type", help="What to train.")]
Params = Annotated[str, typer.Option("--model-params", help="Estimator parameters, such as \"{'alpha': 1.0}\".")]
Seed = Annotated[int, typer.Option("--seed", help="Same data, parameters and seed give the same predictions.")]
Version = Annotated[int | None, typer.Option("--version", help="Version number.")]
AliasName = Annotated[str | None, typer.Option("--alias", help="Alias, in any case.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Reason = Annotated[str, typer.Option("--reason", help="Recorded in the promotion log.")]


def parameters(context: typer.Context) -> dict[str, Any]:
    """The options of a command as parameters of the flow that it starts: both use the same names."""
    return {name: value for name, value in context.params.items() if name not in {"as_json", "verbose"}}
