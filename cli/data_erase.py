"""`mlops data erase`: a person's rows, from everything that was made of them.

No flow of Prefect's: it changes the history that the flow's own server would have open. What was done stands in the
manifests, in the runs, and in `<state>/erasures/`.
"""

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import console, options, runner, show
from lifecycle.core.errors import ConfigError, ConflictError
from lifecycle.core.names import Environment
from lifecycle.erasure.wanted import Subject
from lifecycle.settings import load as settings
from lifecycle.settings.load import checked

if TYPE_CHECKING:
    from lifecycle.erasure.journal import Erasure
    from lifecycle.erasure.wanted import Subject
    from lifecycle.settings.load import Settings

FROM_FILE = "a file with one a line, `-` for stdin: what is typed stays in the history of the shell."


def erase(
    text_from: Annotated[str | None, typer.Option("--text-from", help=f"Texts of the rows: {FROM_FILE}")] = None,
    key: Annotated[list[str] | None, typer.Option("--key", help="Key of a text, as in the column `key`.")] = None,
    id_column: Annotated[
        str | None, typer.Option("--id-column", help="Column of the source, or key column of a batch, with the ids.")
    ] = None,
    ids_from: Annotated[str | None, typer.Option("--ids-from", help=f"Values of that column: {FROM_FILE}")] = None,
    table: Annotated[list[str] | None, typer.Option("--table", help="Delta table with predictions, at a path.")] = None,
    env: Annotated[
        list[Environment] | None, typer.Option("--env", help="Environment to erase from, several times; default all.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Recorded in the manifests. Name no person.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Complete an erasure that was interrupted.")] = False,
    dry_run: options.DryRun = False,
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Erase a person's rows from every dataset version, prediction, report and history; say what was touched.

    Versions keep their names and digests, and their manifests say what went. The rows do not come in again, from
    whatever table. Models that were fitted on them are named, with what replaces them.

    Example: mlops data erase --text-from texts.txt --reason "request of a customer" --dry-run
    """
    from lifecycle.erasure.erase import erase as carry_out

    environments = [settings.load(each) for each in env or Environment]
    subject = None if resume else _subject(text_from, key, id_column, ids_from)
    runner.quiet()
    for config in environments:
        _require_still(config)
    done = None
    with runner.progress("Looking for the rows" if dry_run or not yes else "Erasing"):
        if not resume and (dry_run or not yes):
            done = carry_out(environments, subject, reason=reason, tables=table or (), dry_run=True)
    if not dry_run:
        runner.confirm(_question(done), yes)
        with runner.progress("Erasing"):
            done = carry_out(environments, subject, reason=reason, tables=table or ())
    if done:
        show.print_json(done.model_dump(mode="json", exclude={"fingerprint"})) if as_json else _show(done)


def _subject(text_from: str | None, keys: list[str] | None, id_column: str | None, ids_from: str | None) -> "Subject":

    if text_from == ids_from == "-":
        raise ConfigError("--text-from and --ids-from are both stdin.", "Name a file for one of them.")
    texts, ids = (_lines(place) if place else () for place in (text_from, ids_from))
    return checked(Subject, texts=texts, keys=tuple(keys or ()), id_column=id_column or "", ids=ids)


def _lines(place: str) -> tuple[str, ...]:
    """The lines of a file or of stdin; line ends within a text are blanks, as everywhere in comparisons."""
    try:
        content = sys.stdin.buffer.read() if place == "-" else Path(place).expanduser().read_bytes()
        lines = content.decode("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{place} cannot be read: {error!s:.200}.", "Name a file in UTF-8, or - for stdin.") from None
    return tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))


def _require_still(config: "Settings") -> None:
    """Refuse while services are up, whose flows and histories would be changed under them.

    Raises:
        ConflictError: They are.
    """
    if importlib.util.find_spec("psutil") is None:
        return
    from cli.operations import state

    stack = state.read(config.state)
    if stack and stack.supervisor.alive:
        what = f"Services are up for {config.state}, and their history would be changed under them."
        raise ConflictError(what, "Stop them first: mlops down")


def _question(planned: "Erasure | None") -> str:
    if planned is None:
        return "Complete the erasure that was interrupted?"
    return f"Erase these rows from {len(planned.touched)} places for ever?"


def _show(done: "Erasure") -> None:
    verb = "Erased" if done.done else "Would erase"
    if not done.touched:
        console.echo("Nothing holds these rows: they were erased before.")
        return
    rows = [
        (each.kind, each.what, ", ".join(f"{place} {n}" for place, n in each.rows.items())) for each in done.touched
    ]
    show.table(("place", "what", "rows"), rows)
    if done.fitted:
        console.echo("Models that were fitted on them; their parameters may hold the words:")
        models = [
            (f"{m.model} v{m.version}" if m.model else f"run {m.run_id}", "yes" if m.champion else "", m.command)
            for m in done.fitted
        ]
        show.table(("model", "champion", "to replace or retire it"), models)
    if done.left:
        console.echo("Not erased:")
        show.table(("what", "because"), [(each.what, each.why) for each in done.left])
    searched = f"; {done.searched:,} files were searched afterwards" if done.done else ""
    console.echo(f"{verb} rows in {len(done.touched)} places{searched}. Record: erasures/{done.erasure}.json")
