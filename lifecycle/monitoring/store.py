"""Where measurements lie: `<root>/<registered model>/…`, on a disk or a volume.

`drift/v<version>/<batch>.parquet`         what was measured of a batch, one row per thing, written once
`shadow/v<version>/<batch>.parquet`        the same of a former champion that scored it beside one on probation
`performance/v<version>/<batch>.parquet`   how well it was answered, written anew when further labels arrive
`labels/<time>-<digest>.parquet`           each delivery of labels
`slices/<time>.parquet`                    what slices are made of, as it came with labels
`told/<alert>.json`, `silences/<alert>.json`
`standing.json`                            where the model stands, a cache of the above
"""

import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from lifecycle.core.errors import IntegrityError
from lifecycle.monitoring import findings, standings, trust
from lifecycle.monitoring.findings import Alert, Line, Measured, Silence, Standing
from lifecycle.settings.rules import MonitoringRules
from lifecycle.storage import volumes
from lifecycle.storage.files import publish_file

DOUBLE, TEXT, WHOLE = pa.float64(), pa.string(), pa.int64()
SCHEMA = pa.schema(
    {
        "model": TEXT,
        "version": WHOLE,
        "batch": TEXT,
        "day": pa.date32(),
        "at": pa.timestamp("us", "UTC"),
        "baseline": TEXT,
        "rows_in": WHOLE,
        "scored": WHOLE,
        "part": TEXT,
        "name": TEXT,
        "measure": TEXT,
        "value": DOUBLE,
        "limit": DOUBLE,
        "before": DOUBLE,
        "now": DOUBLE,
        "rows": WHOLE,
        "js": DOUBLE,
        "statistic": DOUBLE,
        "p": DOUBLE,
        "low": DOUBLE,
        "high": DOUBLE,
        "beyond": pa.bool_(),
    }
)
OF_BATCH = tuple(name for name in Measured.model_fields if name != "lines")


Folder = Literal["drift", "performance", "shadow"]
"""What is measured, and of whom: `shadow` is of predictions that were made aside."""


def place(root: Path, name: str, kind: Folder, version: int, batch: str) -> Path:
    """Where what was measured of a batch lies, or would."""
    return root / name / kind / f"v{version}" / f"{batch}.parquet"


def keep(root: Path, kind: Folder, measured: Measured) -> None:
    """Write what was measured of a batch, whole, in place of what was measured before."""
    head = measured.model_dump(exclude={"lines"})
    table = pa.Table.from_pylist([head | line.model_dump() for line in measured.lines], schema=SCHEMA)
    put(place(root, measured.model, kind, measured.version, measured.batch), table)


def put(path: Path, table: pa.Table) -> None:
    """Write a table, whole or not at all."""
    if volumes.on_volume(path):
        with tempfile.NamedTemporaryFile(prefix="mlops-monitoring-", suffix=".parquet") as file:
            pq.write_table(table, file.name)
            volumes.upload(Path(file.name), path)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with publish_file(path) as temporary:
        pq.write_table(table, temporary)


def every(root: Path, name: str, kind: Folder) -> list[Measured]:
    """What was measured of all batches of a model, in their order."""
    found = tables(root, f"{name}/{kind}/*/*.parquet")
    return sorted((read(path) for path in found), key=lambda each: each.order)


def tables(root: Path, pattern: str) -> list[Path]:
    """Tables that are whole, sorted by path: a killed writer may have left one that is not."""
    return [path for path in volumes.glob(root, pattern) if not path.name.startswith(".")]


def read(path: Path) -> Measured:
    """What was measured of a batch."""
    try:
        rows = pq.read_table(volumes.local(path)).to_pylist()
        lines = tuple(Line(**{name: row[name] for name in Line.model_fields}) for row in rows)
        return Measured(**{name: rows[0][name] for name in OF_BATCH}, lines=lines)
    except (pa.ArrowException, ValueError, KeyError, IndexError) as error:
        what = f"{path} is no measurement: {error!s:.200}."
        raise IntegrityError(what, "Remove it, and give the command of the batch again.") from None


def alerts(root: Path, name: str, rules: MonitoringRules) -> list[Alert]:
    """All alerts of a model, open or not."""
    return _alerts(*history(root, name, rules), rules)


def history(root: Path, name: str, rules: MonitoringRules) -> tuple[list[Measured], list[Measured]]:
    """What was measured of all batches of a model, in their order: without and with labels."""
    return findings.with_volume(every(root, name, "drift"), rules), every(root, name, "performance")


def _alerts(drift: list[Measured], performance: list[Measured], rules: MonitoringRules) -> list[Alert]:
    answered = trust.answered(drift, performance, rules)
    of_drift = [alert for kind in ("drift", "latency") for alert in findings.alerts(drift, kind, rules)]
    return [*of_drift, *findings.alerts(answered, "performance", rules)]


def refresh(root: Path, name: str, rules: MonitoringRules) -> Standing | None:
    """Write where a model stands, from all that was measured of it."""
    drift, performance = history(root, name, rules)
    standing = findings.standing(drift, performance, _alerts(drift, performance, rules))
    if standing:
        said = trust.statements(drift, performance, rules).get((standing.version, standing.last))
        standing = standing.model_copy(update={"trust": said.verdict if said else ""})
        write_json(root / name / standings.FILE, standing.model_dump(mode="json"))
    return standing


def untold(root: Path, name: str, rules: MonitoringRules) -> list[Alert]:
    """The open alerts of a model that nobody was told of, as far as the budget of a week allows."""
    standing = refresh(root, name, rules)
    new = [alert for alert in (standing.alerts if standing else ()) if not volumes.exists(_told(root, alert))]
    return new[: max(0, rules.max_alerts - _told_lately(root, name))] if new else []


def _told_lately(root: Path, name: str) -> int:
    """How many alerts of a model were told within a week."""
    now, week = datetime.now(UTC), timedelta(days=7)
    told = (json.loads(volumes.read(path)) for path in volumes.glob(root, f"{name}/told/*.json"))
    return sum(abs(now - datetime.fromisoformat(each["at"])) < week for each in told)  # no clock mutes for longer


def mark_told(root: Path, alert: Alert) -> None:
    """Record that an alert was told, so that it is told once."""
    write_json(_told(root, alert), {"at": datetime.now(UTC).isoformat(timespec="seconds"), "told": alert.told})


def silence(root: Path, name: str, silenced: Silence) -> None:
    """Let an alert say nothing for a while."""
    write_json(root / name / standings.SILENCES / f"{silenced.alert}.json", silenced.model_dump(mode="json"))


def write_json(path: Path, value: Any) -> None:
    """Write a small file, whole where it is a disk."""
    write(path, (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode())


def write(path: Path, content: bytes) -> None:
    """Write a file, whole where it is a disk."""
    if volumes.on_volume(path):
        volumes.write(path, content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with publish_file(path) as temporary:
        temporary.write_bytes(content)


def _told(root: Path, alert: Alert) -> Path:
    return root / alert.model / "told" / f"{alert.id}.json"
