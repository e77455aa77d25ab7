"""`mlops data erase`: a person's rows, from everything that was made of them.

No flow of Prefect's: it changes the history that the flow's own server would have open. What was done stands in the
manifests, in the runs, and in `<state>/erasures/`.
"""

import importlib.util
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import Field

from cli import console, options, runner, show
from flows.request import Form
from lifecycle import settings
from lifecycle.core.errors import ConfigError, ConflictError
from lifecycle.core.names import Environment
from lifecycle.erasure.wanted import Subject
from lifecycle.settings import checked

if TYPE_CHECKING:
    from lifecycle.erasure.journal import Erasure
    from lifecycle.settings import Settings

HALFWAY = "What was begun is completed by: mlops data erase --resume"
FROM_FILE = "a file with one a line, `-` for stdin: what is typed stays in the history of the shell."


class ErasureRequest(Form):
    """Whose rows are erased, and where."""

    text_from: str | None = Field(None, description=f"Texts of the rows: {FROM_FILE}")
    key: list[str] | None = Field(None, description="Key of a text, as in the column `key`.")
    id_column: str | None = Field(None, description="Column of the source, or key column of a batch, with the ids.")
    ids_from: str | None = Field(None, description=f"Values of that column: {FROM_FILE}")
    table: Annotated[list[str] | None, typer.Option("--table", help="Delta table with predictions, at a path.")] = None
    env: list[Environment] | None = Field(None, description="Environment to erase from, several times; default all.")
    reason: str = Field("", description="Recorded in the manifests. Name no person.")
    resume: bool = Field(False, description="Complete an erasure that was interrupted.")
    dry_run: options.DryRun = False

    @property
    def subject(self) -> Subject | None:
        """Whose rows; None if it is known from the erasure that was interrupted."""
        if self.resume:
            return None
        if self.text_from == self.ids_from == "-":
            raise ConfigError("--text-from and --ids-from are both stdin.", "Name a file for one of them.")
        texts, ids = (_lines(place) if place else () for place in (self.text_from, self.ids_from))
        return checked(Subject, texts=texts, keys=tuple(self.key or ()), id_column=self.id_column or "", ids=ids)


@options.of_request
def erase(request: ErasureRequest, yes: options.Yes = False, as_json: options.Json = False) -> None:
    """Erase a person's rows from every dataset version, prediction, report and history; say what was touched.

    Versions keep their names and digests, and their manifests say what went. The rows do not come in again, from
    whatever table. Models that were fitted on them are named, with what replaces them.

    Example: mlops data erase --text-from texts.txt --reason "request of a customer" --dry-run
    """
    from lifecycle.erasure.erase import erase as carry_out

    environments = [settings.load(env) for env in request.env or Environment]
    erasing = partial(carry_out, environments, request.subject, reason=request.reason, tables=request.table or ())
    runner.quiet()
    for config in environments:
        _require_still(config)
    done = None
    is_first_look = request.dry_run or not yes
    with runner.progress("Looking for the rows" if is_first_look else "Erasing", "" if is_first_look else HALFWAY):
        if is_first_look and not request.resume:
            done = erasing(dry_run=True)
    if not request.dry_run:
        runner.confirm(_question(done), yes)
        with runner.progress("Erasing", HALFWAY):
            done = erasing()
    if done:
        show.print_json(done.model_dump(mode="json", exclude={"fingerprint"})) if as_json else _show(done)


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
    if done.unmet:
        named = "; ".join(f"{kind} {', '.join(map(str, places))}" for kind, places in done.unmet.items())
        console.echo(f"In no dataset, batch or request, by their places among those that were named: {named}.")
        console.echo("If they are misspelt, their rows are still there: erase these again.")
    if done.left:
        console.echo("Not erased:")
        show.table(("what", "because"), [(each.what, each.why) for each in done.left])
    places = "1 place" if len(done.touched) == 1 else f"{len(done.touched)} places"
    record = f"; {done.searched:,} files were searched afterwards. Record: erasures/{done.erasure}.json"
    console.echo(f"{verb} rows in {places}{record if done.done else '.'}")
