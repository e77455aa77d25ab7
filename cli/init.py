"""`mlops init TABLE`: look at a table and propose what a model of it is, as the file `config/models/<model>.yaml`."""

import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import Field

from cli import console, options, runner, show
from cli.first_look import MOST_ROWS, look, require_rows
from flows.flow_requests import TableRequest
from flows.request import Form, TableForm
from lifecycle.core import class_names
from lifecycle.core.errors import ConfigError
from lifecycle.core.names import ProblemName, is_name
from lifecycle.data import delta, quarantine
from lifecycle.data.source import Source
from lifecycle.problems.contract import DROP, TEXT, Folder
from lifecycle.problems.known import PROBLEMS, named
from lifecycle.settings import checked, definitions, files
from lifecycle.settings.definitions import ModelDefinition
from lifecycle.storage.files import publish_file

if TYPE_CHECKING:
    import pandas as pd

    from lifecycle.problems.tabular.proposal import Proposal
    from lifecycle.settings.definitions import ModelDefinition

SHOWN = 24
"""Letters of an example that are shown."""
FEW, MOST_LIKELY = 20, 50
"""In fewer rows than this classes may all be different; a column of more classes than that is not proposed."""
UNIQUE = 0.9
"""Where fewer of the rows than this have a key of their own, it is none."""
EXAMPLE = "For example: mlops init data/customers.csv --target churned"


def _said(field: str) -> str | None:
    """What the request for a dataset says of one of its fields."""
    return TableRequest.model_fields[field].description


class InitRequest(Form, TableForm):
    """The table, and what a person has decided before anything is proposed."""

    table: Annotated[
        str | None,
        typer.Argument(
            callback=options.sealed, help="Path or URL of the table, or catalog.schema.table; or a folder of documents."
        ),
    ] = None
    questions: Annotated[
        str | None,
        typer.Option(callback=options.sealed, help="Of a folder of documents: the table of questions to judge by."),
    ] = None
    documents: str | None = Field(None, description="Folder of the documents that the questions are answered from.")
    model_name: str | None = Field(None, description="Default: from the name of the table.")
    target: str | None = Field(None, description="Column that is to be predicted.")
    problem: ProblemName | None = Field(None, description="Default: what the target is.")
    key: str | None = Field(None, description="Column that identifies a row.")
    group_column: str | None = Field(None, description=_said("group_column"))
    group_texts: bool = Field(False, description=_said("group_texts"))
    time_column: str | None = Field(None, description=_said("time_column"))
    drop: list[str] = Field([], description="Column that is no input; may be repeated.")

    @property
    def source(self) -> Source:
        """The table as a person names it."""
        if self.table is None:
            what = "Which table is the model to learn from? A file, a URL, or catalog.schema.table."
            raise ConfigError(what, EXAMPLE)
        return self.at(self.table)


@options.of_request
def init(
    request: InitRequest,
    github: Annotated[
        bool,
        typer.Option("--github", help="Write the GitHub workflows of a project that is defined, and no definition."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over what is there.")] = False,
    dry_run: options.DryRun = False,
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Look at a table, propose what a model of it is, and write that to config/models/NAME.yaml after a yes.

    Example: mlops init data/customers.csv --target churned
    Example: mlops init handbook --questions questions.csv
    Example: mlops init --github
    """
    if github:
        from cli import workflows

        workflows.write(request.model_name, force=force or yes, dry_run=dry_run, as_json=as_json)
        return
    from cli import definition_file

    request = _with_questions(request)
    source = request.source
    name = request.model_name or _named_after(source)
    path = _file_of(name, force or dry_run)
    frame, source = look(source, delimiter_is_open=request.delimiter is None, dropped=request.drop)
    request = request.model_copy(update={"delimiter": source.delimiter if source.delimiter != "," else None})
    proposal = _proposal(frame, request, ask=not yes)
    places = {"source": _place(source, path)}
    places |= {"documents": _within(Path(request.documents).expanduser(), path)} if request.documents else {}
    definition = _definition(name, frame, proposal, request, places)
    require_rows(frame, source.name)
    if request.key:
        _require_identifies(frame, request.key)
    text = definition_file.render(name, definition, {column.name: column.note for column in proposal.columns})
    if not as_json:
        _show(source.name, frame, proposal, definition)
        console.echo(f"{_shown(path)}:\n\n{text}")
    if not dry_run:
        runner.confirm(f"Write {_shown(path)}?", yes)
        _write(path, text)
    command = _next(name) if not dry_run else ""
    if as_json:
        facts = {"model_name": name, "file": str(path), "written": not dry_run, "rows": len(frame)}
        show.print_json(facts | {"definition": definition, "notes": proposal.notes, "next": command})
    elif command:
        console.echo(f"Wrote {_shown(path)}. Next: {command}")


def _with_questions(request: InitRequest) -> InitRequest:
    """A folder of documents in the place of a table: the table is that of the questions."""
    folder = Path(request.table or "").expanduser()
    if request.table is None or request.source_format or not folder.is_dir():
        if request.questions:
            what = f"--questions are asked of a folder of documents, and {request.table or 'nothing'} is none."
            raise ConfigError(what, "For example: mlops init handbook --questions questions.csv")
        return request
    wanted = [request.problem] if request.problem else [*PROBLEMS]
    problem = next((name for name in wanted if (of := named(name).table.folder) and of.holds(folder)), None)
    if problem is None and request.questions:
        what = f"{folder} is no folder of documents: it holds none, or a table among them."
        raise ConfigError(what, "Name another one: mlops init FOLDER --questions questions.csv")
    if problem is None:
        return request
    if request.questions is None:
        beside = named(problem).table.folder
        raise ConfigError(beside.needed(folder) if beside else "", f"mlops init {folder} --questions questions.csv")
    name = request.model_name or _named_after(Source(uri=str(folder.absolute())))
    changes = {"table": request.questions, "documents": str(folder), "problem": problem, "model_name": name}
    return request.model_copy(update=changes)


def _folder(request: InitRequest) -> tuple[Folder, Path] | None:
    """What a problem needs beside its table, and where it is; None if it needs nothing."""
    beside = named(request.problem).table.folder if request.problem else None
    if beside is None and request.documents:
        fix = f"--problem {next(name for name in PROBLEMS if named(name).table.folder)}"
        raise ConfigError("--documents are for a model that answers from them.", f"Name the problem of such: {fix}")
    if beside is None:
        return None
    if request.documents is None:
        what = f"A model of the problem {request.problem} answers from documents: in which folder are they?"
        raise ConfigError(what, "Say so: --documents FOLDER")
    return beside, Path(request.documents).expanduser()


def _named_after(source: Source) -> str:
    """A valid name of a model from that of a table."""
    last = delta.divided(source.name)[0]
    stem = last.rpartition(".")[2] if delta.is_name(last) and not Path(source.uri).exists() else last.partition(".")[0]
    name = re.sub("[^a-z0-9_-]+", "_", stem.lower()).strip("_-")[:64]
    if not name and Path(source.uri).is_dir():
        raise ConfigError(f"{last} is a folder.", f"Name the table in it. {EXAMPLE}")
    if not name:
        raise ConfigError(f"The name of {last} gives none to a model.", "Choose one: --model-name NAME")
    return name


def _file_of(name: str, may_exist: bool) -> Path:
    """Where the definition is to be: in the project, else in one that begins here."""
    if not is_name(name):
        raise ConfigError(f"{name!r} is not a model name: lower-case letters, digits, `_`, `.` and `-`.")
    is_project = bool(os.environ.get("MLOPS_CONFIG_DIR")) or files.project()
    path = (files.config_dir() if is_project else Path.cwd() / "config").absolute() / "models" / f"{name}.yaml"
    if path.exists() and not may_exist:
        fix = "Edit it; or define another model: --model-name NAME; or write it anew: --force"
        raise ConfigError(f"The model {name} is defined already, in {_shown(path)}.", fix)
    return path


def _place(source: Source, path: Path) -> str | None:
    """The table as the definition names it: below the project's folder relative to it; None for a pipe."""
    place = Path(source.uri).expanduser()
    if not source.is_path:
        return source.uri
    return _within(place, path) if place.is_file() or place.is_dir() else None


def _within(place: Path, path: Path) -> str:
    """A place as the definition of that path names it: below the project's folder relative to it."""
    place, folder = place.absolute(), path.parents[2]
    return str(place.relative_to(folder)) if place.is_relative_to(folder) else str(place)


def _proposal(frame: "pd.DataFrame", request: InitRequest, *, ask: bool) -> "Proposal":
    """What the table seems to be; where several columns may be the target, a person says which."""
    from lifecycle.problems.tabular.proposal import propose

    named = {"--target": request.target, "--key": request.key, "--group-column": request.group_column}
    named |= {"--time-column": request.time_column}
    for option, column in (*named.items(), *(("--drop", column) for column in request.drop)):
        if column is not None:
            _require_column(frame, column, option)
    kept = frame.drop(columns=request.drop)
    if request.target in request.drop:
        raise ConfigError(f"The target {request.target!r} cannot be dropped.", "Leave it out of --drop.")
    if len(kept.columns) < 2:
        left = _listed(kept.columns) or "none"
        what = f"A model needs a target and an input; of the columns that can be read there is left: {left}."
        raise ConfigError(what, "Rename those that appear twice, drop fewer, or declare another --delimiter.")
    if beside := _folder(request):
        return beside[0].propose(kept, request.target, beside[1])
    proposal = propose(kept, request.target)
    return proposal if proposal.target else propose(kept, _asked_target(kept, proposal, ask))


def _asked_target(frame: "pd.DataFrame", proposal: "Proposal", ask: bool) -> str:
    candidates = proposal.candidates or tuple(frame.columns)
    if not ask or not sys.stdin.isatty():
        what = f"Which column is to be predicted? It may be {_listed(candidates)}."
        raise ConfigError(what, "Say so: --target COLUMN")
    question = f"Which column is to be predicted: {_listed(candidates)}?"
    column = str(typer.prompt(question, prompt_suffix=" ", err=True)).strip()
    _require_column(frame, column, "--target")
    return column


def _require_column(frame: "pd.DataFrame", column: str, option: str) -> None:
    if column not in frame.columns:
        near = class_names.nearest(column, map(str, frame.columns))
        fix = f"Did you mean {option} {near!r}?" if near else f"Correct {option}."
        raise ConfigError(f"There is no column {column!r}: there are {_listed(frame.columns)}.", fix)


def _require_identifies(frame: "pd.DataFrame", key: str) -> None:
    """Refuse a key that several rows share; a row that was written twice is none, and some mistakes are quarantined."""
    cells = frame.drop_duplicates()[key].str.strip()
    counts = cells[cells != ""].value_counts()
    if len(counts) >= UNIQUE * counts.sum() > 0:
        return
    example = f", such as {counts.index[0]!r:.60} of {counts.iloc[0]:,}" if len(counts) else ""
    what = f"The key {key!r} does not identify a row: {len(cells):,} rows have {len(counts):,} values{example}."
    fix = f"Name a column that does, or none. Are they rows of one customer or the like? --group-column {key}"
    raise ConfigError(what, fix)


def _listed(columns: Iterable[str], most: int = 20) -> str:
    names = list(columns)
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def _definition(
    name: str, frame: "pd.DataFrame", proposal: "Proposal", request: InitRequest, places: Mapping[str, str | None]
) -> "ModelDefinition":
    """The definition that the proposal and the decisions make together."""
    problem = request.problem or proposal.problem
    rows = named(problem).table
    if rows.folder is None:
        _require_answers(frame[str(proposal.target)].str.strip(), problem)
    if problem.endswith("classification"):
        _require_classes(frame, proposal)
    kinds = {column.name: column.kind for column in proposal.columns}
    kinds = {column: kinds.get(column, "drop") for column in frame.columns if column != proposal.target}
    kinds = _of_texts(kinds, rows.texts) if rows.texts else _of_tables(kinds, proposal)
    key = request.key or proposal.key
    split = _split(proposal, request)
    if request.group_texts and rows.texts < 2:
        raise ConfigError(f"--group-texts is for pairs of texts; this is {problem}.", "Leave it out, or see --problem.")
    table = {**places, "format": request.source_format, "encoding": request.encoding}
    table |= {"delimiter": request.delimiter}
    no_inputs = {key, split["column"] if split["by"] == "group" else None}
    data = {
        "name": name,
        "target": proposal.target,
        "key": key,
        "columns": {name: DROP if name in no_inputs and kind != TEXT else kind for name, kind in kinds.items()},
        **{option: value for option, value in table.items() if value is not None},
        "split": split,
    }
    return checked(ModelDefinition, problem=problem, data=data)


def _of_texts(kinds: dict[str, Any], needed: int) -> dict[str, Any]:
    """So many texts are the input, and no other column."""
    texts = [column for column, kind in kinds.items() if kind == TEXT]
    if len(texts) != needed:
        there = _listed(texts) if texts else f"none: {_listed(kinds)}"
        what = "one column of texts" if needed == 1 else f"{needed} columns of texts"
        raise ConfigError(f"A classification of texts needs {what}; there are {there}.", "See: --drop, --problem")
    return {column: TEXT if column in texts else DROP for column in kinds}


def _of_tables(kinds: dict[str, Any], proposal: "Proposal") -> dict[str, Any]:
    """Every input but free text, which a table's models do not read."""
    inputs = {column: DROP if kind == TEXT else kind for column, kind in kinds.items()}
    if set(inputs.values()) <= {"drop"}:
        notes = {column.name: f" ({column.note})" for column in proposal.columns if column.note}
        told = _listed(f"{name:.40}{notes.get(name, '')}" for name in kinds)
        what = f"No column is of use as an input: {told}."
        fix = "See: --problem text-classification" if TEXT in kinds.values() else "Add columns that tell rows apart."
        raise ConfigError(what, fix)
    return inputs


def _require_answers(cells: "pd.Series[str]", problem: ProblemName) -> None:
    """Refuse a target that tells nothing: blank or the same in every row, or words where numbers are needed."""
    import pandas as pd

    target, cells = cells.name, cells[cells != ""]
    if cells.nunique() < 2:
        there = f"{cells.iloc[0]!r:.60}" if len(cells) else "blank"
        what = f"The target {target!r} is {there} in every row: there is nothing to predict."
        raise ConfigError(what, "Choose another --target.")
    if problem == "tabular-regression" and pd.to_numeric(cells, errors="coerce").isna().all():
        what = f"The target {target!r} of a regression holds no number, but {cells.iloc[0]!r:.60}."
        fix = "Write numbers plainly, as 1234.5, choose another --target, or --problem tabular-classification."
        raise ConfigError(what, fix)


def _require_classes(frame: "pd.DataFrame", proposal: "Proposal") -> None:
    """Refuse texts or ids as classes, as where the column of the texts was named in place of that of the labels."""
    cells = frame[str(proposal.target)].str.strip().loc[lambda cells: cells != ""]
    if len(cells) < FEW or cells.nunique() <= quarantine.MOST_CLASSES * len(cells):
        return
    what = f"The target {proposal.target!r} has {cells.nunique():,} different values in {len(cells):,} rows: "
    likely = _listed(f"--target {c.name!r}" for c in proposal.columns if 2 <= c.distinct <= MOST_LIKELY)
    fix = f"Which column holds the classes? {likely}" if likely else "Choose another --target."
    raise ConfigError(f"{what}they are texts or ids, not classes.", fix)


def _split(proposal: "Proposal", request: InitRequest) -> dict[str, Any]:
    """By what rows are divided."""
    if sum(map(bool, (request.group_column, request.group_texts, request.time_column))) > 1:
        fix = "Give one of --group-column, --group-texts and --time-column."
        raise ConfigError("A split is by group, by texts or by time, not by both.", fix)
    if request.group_column or request.group_texts:
        return {"by": "group", "column": request.group_column} if request.group_column else {"by": "text"}
    time_column = request.time_column or (proposal.time_column if proposal.split_by == "time" else None)
    return {"by": "time", "column": time_column} if time_column else {"by": "random", **proposal.sizes}


def _show(name: str, frame: "pd.DataFrame", proposal: "Proposal", definition: "ModelDefinition") -> None:
    rows = [
        (
            column.name,
            definition.data.columns.get(column.name, column.kind),
            f"{column.missing:,}",
            f"{column.distinct:,}",
            _examples(column.examples),
            column.note,
        )
        for column in proposal.columns
        if column.name != proposal.target
    ]
    full = frame[proposal.target].str.strip().loc[lambda cells: cells != ""]
    counts = f"{len(frame) - len(full):,}", f"{full.nunique():,}"
    rows.append((str(proposal.target), "target", *counts, _examples(full.drop_duplicates()[:3]), ""))
    which = f"only the first {MOST_ROWS:,}" if len(frame) == MOST_ROWS else f"all {len(frame):,}"
    title = f"{definition.problem}: {name}, of which {which} rows were looked at"
    show.table(("column", "kind", "missing", "distinct", "examples", "note"), rows, title)
    for note in proposal.notes:
        console.echo(note)


def _examples(cells: Iterable[str]) -> str:
    return ", ".join(cell if len(cell) <= SHOWN else f"{cell[:SHOWN]}…" for cell in list(cells)[:3])


def _shown(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with publish_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _next(name: str) -> str:
    return "mlops release" + ("" if definitions.names() == (name,) else f" --model-name {name}")
