"""Dataset versions: made once, never changed, described by a manifest.

`<data root>/<data_name>/<data_version>/` holds `split.parquet` (row, key, the target, split, the inputs by their kinds,
and the source's other columns as `source_…`), `quarantine.parquet` (the same without key and split, with reason and
kept_row), `manifest.json`, `report.html` and `data_docs/`; what target and inputs are is said by the problem's `Table`.
It is written under a temporary name and renamed, so a version exists whole or not at all; on a volume,
`lifecycle.storage.volumes` says how. What a person has a right to have erased is the exception to the rule: the version
keeps its name and digest, and its manifest says what went.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from lifecycle.core import class_names
from lifecycle.core.errors import ConflictError, DataError, IntegrityError, NotFoundError
from lifecycle.core.names import Side, is_name, natural
from lifecycle.core.provenance import code_version
from lifecycle.data import cleaning, contents, division, ingest, lock, report, usable, validation, writing
from lifecycle.data.division import By, Division, Earlier
from lifecycle.data.manifest import LATEST, RAW, CreateDataRequest, Manifest, difference, version_digest
from lifecycle.data.quarantine import Wanted, rare_rows, set_aside, wanted
from lifecycle.data.source import Source
from lifecycle.problems.contract import Canonical
from lifecycle.problems.known import named
from lifecycle.settings import Settings, checked
from lifecycle.storage import volumes
from lifecycle.storage.files import sha256_of, write_json

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

SPLIT, QUARANTINE, MANIFEST, REPORT = "split.parquet", "quarantine.parquet", "manifest.json", "report.html"


def plan(config: Settings, source: Source, **arguments: Any) -> CreateDataRequest:
    """State a dataset version; if datasets are on a volume, a source of this machine is brought to `raw/` there.

    Raises:
        ConfigError: As `state` says.
    """
    request = state(config, source, **arguments)
    raw = request.data_root / request.data_name / RAW
    return request.model_copy(update={"source": ingest.brought(request.source, raw, config.data)})


def state(config: Settings, source: Source, **arguments: Any) -> CreateDataRequest:
    """State a dataset version by the settings of an environment; no row is read and nothing written.

    A relative source that is not in the working directory is looked up in `<data root>/<data_name>/raw/`.

    Raises:
        ConfigError: An argument is out of range, or the sizes leave nothing to train on.
    """
    raw = config.datasets / str(arguments.get("data_name")) / RAW / source.uri
    if source.is_path:
        found = Path(source.uri)
        if not volumes.exists(found) and volumes.exists(raw):
            found = raw
        source = source.model_copy(update={"uri": str(found.absolute())})
    return checked(
        CreateDataRequest,
        data_root=config.datasets,
        source=source,
        rules=config.data,
        suite=validation.load_suite(str(arguments.get("data_name")), arguments.get("problem")),
        **cleaning.planned(config, arguments.get("clean")),
        **arguments,
    )


@lock.while_reading("data_root")
def create(request: CreateDataRequest) -> None:
    """Make a dataset version, or verify that the same one exists.

    Idempotent by name: the same rows and parameters again change nothing. Rows that were erased do not come in again.

    Raises:
        DataError: The source is malformed or unfit; nothing is written.
        ConflictError: The version exists with other rows or parameters; what differs is named.
    """
    request = request.model_copy(update={"source": ingest.pinned(request.source, request.rules)})
    logger.info("Reading %s", request.source.name)
    table = read_source(request)
    rows_digest = request.table.rows_digest(table.rows)
    made = None if volumes.is_published(request.folder) else _publish(request, table, rows_digest)
    stored = load(request.data_root, request.data_name, request.data_version)
    if stored != made:  # it was there, or somebody was faster
        stored = _same_or_conflict(request, rows_digest)
    logger.info("Dataset %s %s is in place: %s rows", stored.data_name, stored.data_version, f"{stored.rows_in:,}")


def _publish(request: CreateDataRequest, table: ingest.Table, rows_digest: str) -> Manifest:
    parent = _parent(request)
    division.require_one_way(request, parent)
    earlier = _earlier(request, parent)
    by = division.by_content(request, earlier)
    canonical = usable.canonical(table, request, parent, by)
    if canonical.unusable:
        logger.info(
            "Set aside %s rows with cells that cannot be used. %s", f"{len(canonical.unusable):,}", canonical.said
        )
    with volumes.publishing(request.folder) as folder:
        parts = _parts(request, canonical, parent, earlier, by, folder)
        _tell_other_classes(parts.division.rows, parent)
        names = [*canonical.frame, "row", "key", "split"]
        writing.write(parts.division.rows, canonical.frame, division.in_file(names, request), folder / SPLIT)
        names = ["row", *canonical.frame, "reason", "kept_row"]
        writing.write(parts.quarantine, canonical.frame, names, folder / QUARANTINE)
        manifest = _manifest(request, table, rows_digest, canonical, parts, parent, folder)
        shown = parts.quarantine.groupby("reason").head(report.EXAMPLES)
        report.write(manifest, writing.whole(shown, canonical.frame, names), folder / REPORT)
        write_json(folder / MANIFEST, manifest.model_dump(mode="json"))
    return manifest


class _Parts(NamedTuple):
    """What the rows of a table become, and what was found of them."""

    division: Division
    quarantine: "pd.DataFrame"
    validation: validation.Report


def _parts(
    request: CreateDataRequest,
    canonical: Canonical,
    parent: Manifest | None,
    earlier: Earlier,
    by: By | None,
    folder: Path,
) -> _Parts:
    frame, inputs, unusable, *_ = canonical
    suite = request.suite or request.table.suite(inputs)
    checked_by = validation.check(frame, suite, folder / "data_docs", but=unusable)
    keys = request.table.keys(frame, inputs, request)
    light = frame[division.deciding(frame, request, by, inputs)]
    failed = {**checked_by.quarantine, **unusable}
    if by:
        identities, rows = division.identities(keys), light.drop(index=[*unusable])
        by = by.settled(rows, identities)
        failed = by.moved(rows.drop(index=[*checked_by.quarantine]), identities) | failed
    kept, quarantine = set_aside(light, keys, failed, request.source.name, request.rules, _wanted(request, parent))
    return _Parts(division.divide(kept, request, by, earlier, inputs), quarantine, checked_by)


def _manifest(
    request: CreateDataRequest,
    table: ingest.Table,
    rows_digest: str,
    canonical: Canonical,
    parts: _Parts,
    parent: Manifest | None,
    folder: Path,
) -> Manifest:
    """What is said of a version, after counting that each row is in one place."""
    divided, near, starts = parts.division
    parameters = request.parameters_with(near)
    reasons = parts.quarantine["reason"].value_counts().sort_index()
    manifest = Manifest(
        data_name=request.data_name,
        data_version=request.data_version,
        problem=request.problem,
        inputs=canonical.inputs,
        digest=version_digest(rows_digest, parameters, parent.digest if parent else None),
        source=request.source.public_uri,
        source_sha256=table.sha256,
        parameters=parameters,
        rows_in=len(table.rows),
        rows_split=len(divided),
        rows_quarantined=len(parts.quarantine),
        rows_erased=len(table.rows) - len(canonical.frame),
        quarantined={str(reason): int(count) for reason, count in reasons.items()},
        trimmed=canonical.trimmed,
        validation=parts.validation.results,
        parent=parent.data_version if parent else None,
        parent_digest=parent.digest if parent else None,
        code_version=code_version(),
        files={name: sha256_of(folder / name) for name in (SPLIT, QUARANTINE)},
        near_duplicates=near,
        starts=starts,
        departures=contents.departures(divided, canonical.inputs, parent),
        **contents.described(divided, canonical.inputs),
    )
    if manifest.rows_in != manifest.rows_split + manifest.rows_quarantined + manifest.rows_erased:
        what = f"{len(canonical.frame)} rows became {len(divided)} and {len(parts.quarantine)}."
        raise IntegrityError(what, "Report this bug.")
    return manifest


def read_source(request: CreateDataRequest) -> ingest.Table:
    """Read and check the source of a request; writes nothing."""
    roles = request.table.options(request)
    deciding = {request.group_column: "--group-column", request.time_column: "--time-column"}
    roles |= {column: option for column, option in deciding.items() if column}
    wanted = roles | dict.fromkeys([name for name in request.strata if name not in roles], "--stratify")
    beside = None if volumes.on_volume(request.data_root) else request.data_root
    table = ingest.read(request.source, request.rules, wanted, beside=beside)
    if (count := len(table.rows)) < request.rules.min_rows:
        what = f"{request.source.name}: {count} data rows are fewer than {request.rules.min_rows} (data.min_rows)."
        raise DataError(what, "Check that the export finished.")
    return table


def check_source(request: CreateDataRequest) -> None:
    """Find, without writing anything, what makes a table unusable before it is validated.

    Raises:
        DataError: A malformed row or cell, too few rows, or classes that could not be split even if every row that
            is not blank were used.
    """
    table = read_source(request)
    parent = None if volumes.is_published(request.folder) else _parent(request)
    division.require_one_way(request, parent)
    frame, _, unusable, *_ = usable.canonical(table, request, parent, division.by_content(request, Earlier()))
    frame = frame.drop(index=[*unusable])
    if classes := _wanted(request, None):
        there = frame["label"] != ""
        labels = frame["label"][there & (frame["text"] != "") if "text" in frame else there]
        rare_rows(labels, unusable, request.source.name, request.rules, classes)


def load(data_root: Path, data_name: str, data_version: str) -> Manifest:
    """Read the manifest of a version.

    Raises:
        NotFoundError: There is no such version; those that exist are named.
    """
    if not (is_name(data_name) and is_name(data_version)):
        raise _unknown(data_root, data_name, data_version)
    path = data_root / data_name / data_version / MANIFEST
    try:
        return Manifest.model_validate_json(volumes.read(path))
    except NotFoundError:
        raise _unknown(data_root, data_name, data_version) from None
    except ValidationError as error:
        what = f"{path} is not a manifest: {error.errors()[0]['msg']}."
        raise IntegrityError(what, "Restore it from a copy.") from None


def load_rows(data_root: Path, data_name: str, data_version: str, *sides: Side) -> "pd.DataFrame":
    """Read the rows of some sides (default all), in row order, after checking the file's digest."""
    import pandas as pd

    rows = pd.read_parquet(verified_rows(data_root, load(data_root, data_name, data_version)))
    return rows[rows["split"].isin([str(side) for side in sides])].reset_index(drop=True) if sides else rows


def verified_rows(data_root: Path, manifest: Manifest) -> Path:
    """The file of a version's rows on this machine, after checking its digest."""
    return _verified(volumes.place(data_root / manifest.data_name / manifest.data_version), SPLIT, manifest)


def verify(data_root: Path, data_name: str, data_version: str) -> Manifest:
    """Check a stored version: file digests, row counts, unique rows, and every row on one side.

    Raises:
        IntegrityError: What is stored is not what was published.
    """
    import pandas as pd

    manifest = load(data_root, data_name, data_version)
    folder = volumes.place(data_root / data_name / data_version)
    files = {name: _verified(folder, name, manifest) for name in manifest.files}
    rows = pd.read_parquet(files[SPLIT])
    quarantined = pd.read_parquet(files[QUARANTINE], columns=["row"])
    numbers = {*rows["row"], *quarantined["row"]}
    distinct = len(numbers) == len(rows) + len(quarantined) == manifest.rows_in - manifest.rows_erased
    checks = {
        "the row numbers are not 1 to n": distinct and numbers <= set(range(1, manifest.rows_in + 1)),
        "the counts differ": contents.counts_of(rows) == manifest.counts,
    }
    flaw = named(manifest.problem).table.flaw(rows)
    if broken := [problem for problem, fine in checks.items() if not fine] + ([flaw] if flaw else []):
        raise IntegrityError(f"{data_name} {data_version}: {', '.join(broken)}.", "Restore it from a copy.")
    return manifest


def rows_file(data_root: Path, data_name: str, data_version: str) -> Path:
    """Where the rows of a version lie."""
    return volumes.place(data_root / data_name / data_version) / SPLIT


def versions(data_root: Path, data_name: str | None = None) -> list[Manifest]:
    """All versions, by name and then in natural order of the version (1.9 before 1.10).

    Raises:
        IntegrityError: The manifest of one cannot be read.
    """
    found, damaged = readable(data_root, data_name)
    if damaged:
        raise damaged[0]
    return found


def readable(data_root: Path, data_name: str | None = None) -> tuple[list[Manifest], list[IntegrityError]]:
    """The same for whom one that cannot be read is not in the way: what is wrong with such stands beside the others."""
    found, damaged = list[Manifest](), list[IntegrityError]()
    for path in volumes.glob(data_root, f"{data_name or '*'}/*/{MANIFEST}"):
        name, version = path.parts[-3:-1]
        if is_name(name) and is_name(version):
            try:
                found.append(load(data_root, name, version))
            except IntegrityError as error:
                damaged.append(error)
    return sorted(found, key=lambda m: (m.data_name, natural(m.data_version))), damaged


def resolve(data_root: Path, data_name: str, data_version: str) -> str:
    """The version that a name stands for: `latest` is the one that is nobody's parent, of several the highest.

    Raises:
        NotFoundError: The dataset has no version.
    """
    if data_version != LATEST:
        return data_version
    if found := _latest(data_root, data_name):
        return found.data_version
    raise NotFoundError(f"There is no version of dataset {data_name} in {data_root}.", "Make one: mlops data create")


def _same_or_conflict(request: CreateDataRequest, rows_digest: str) -> Manifest:
    stored = verify(request.data_root, request.data_name, request.data_version)
    parameters = request.parameters_with(stored.near_duplicates)  # none: made before near twins were kept, as it is
    wanted = version_digest(rows_digest, parameters, stored.parent_digest)
    if request.parent not in (None, stored.parent) or wanted != stored.digest:
        what = f"Dataset {stored.data_name} {stored.data_version} exists with "
        what += f"{difference(request, stored, rows_digest)}."
        raise ConflictError(what, "A version never changes: choose another --data-version.")
    return stored


def _parent(request: CreateDataRequest) -> Manifest | None:
    if request.parent:
        return load(request.data_root, request.data_name, request.parent)
    return _latest(request.data_root, request.data_name)


def _latest(data_root: Path, data_name: str) -> Manifest | None:
    known = versions(data_root, data_name)
    parents = {manifest.parent for manifest in known}
    return next((m for m in reversed(known) if m.data_version not in parents), None)


def _earlier(request: CreateDataRequest, parent: Manifest | None) -> Earlier:
    if not parent:
        return Earlier()
    return Earlier(load_rows(request.data_root, request.data_name, parent.data_version), parent.starts)


def _wanted(request: CreateDataRequest, parent: Manifest | None) -> Wanted | None:
    """What the classes must be, if the target is one of some."""
    if not request.table.has_classes:
        return None
    options = request.table.options(request)
    return wanted(request.target, request.fractions.values(), _classes_of(parent), options)


def _tell_other_classes(rows: "pd.DataFrame", parent: Manifest | None) -> None:
    """Warn of classes that come or go: they may be meant, or the same ones under other names."""
    if parent and parent.classes and (told := class_names.difference(_classes_of(parent), rows["label"])):
        logger.warning("The classes differ from those of %s %s: %s", parent.data_name, parent.data_version, told)


def _classes_of(parent: Manifest | None) -> set[str]:
    """The classes of a version, as in a new one; of none, none."""
    return {class_names.canonical(label) for label in parent.classes} if parent else set()


def _unknown(data_root: Path, data_name: str, data_version: str) -> NotFoundError:
    found = readable(data_root, data_name)[0] if is_name(data_name) else []
    known = ", ".join(m.data_version for m in found) or "none"
    what = f"Dataset {data_name!r} has no version {data_version!r} under {data_root} (versions: {known})."
    return NotFoundError(what, "See: mlops data list")


def _verified(folder: Path, name: str, manifest: Manifest) -> Path:
    """A file of a version on this machine, after checking its digest."""
    try:
        local = volumes.local(folder / name)
        found = sha256_of(local)
    except (NotFoundError, FileNotFoundError):
        found = "missing"
    if found != manifest.files[name]:
        what = f"{folder / name}: sha256 is {found}, the manifest says {manifest.files[name]}."
        raise IntegrityError(what, "Restore it from a copy, or make a new version.")
    return local
