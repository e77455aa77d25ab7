"""Where measurements lie on a volume, requests to a champion on probation are measured and answered in the shadow."""

import shutil
from pathlib import Path

import pytest

from lifecycle.inference.manifest import MANIFEST
from lifecycle.monitoring import shadow, store
from lifecycle.registry import promotion
from lifecycle.storage import volumes
from tests.probation import answer, promoted, requests_kept, trained


@pytest.mark.exhaustive
@pytest.mark.usefixtures("databricks_env")
def test_requests_have_a_probation_on_a_volume(migrated: Path, tmp_path: Path) -> None:
    shutil.copy(migrated, tmp_path / "mlflow.db")
    config, models = trained(tmp_path)
    place = Path("/Volumes/dev/ml/mlops", tmp_path.name)
    on_a_volume = {"root": place / "monitoring", "shadows": place / "shadow"}
    subject = promoted(config, models).model_copy(update=on_a_volume)
    (restored,) = answer(subject, requests_kept(config))
    assert (restored.outcome, promotion.read_log(subject.target).champion) == ("rolled back", 1)
    measured = {kind: store.every(subject.root, subject.name, kind) for kind in ("drift", "shadow")}  # type: ignore[arg-type]
    assert {kind: [(each.version, each.scored) for each in found] for kind, found in measured.items()} == {
        "drift": [(2, 100)] * 2,
        "shadow": [(1, 100)] * 2,
    }
    assert not volumes.glob(subject.root, f"{subject.name}/inputs/*"), "nobody's inputs are left"
    files = [f"{subject.name}/1/*/{MANIFEST}", f"{subject.name}/1/*/*/*.parquet"]
    assert [len(volumes.glob(subject.shadows, each)) >= 2 for each in files] == [True, True]
    shadow.forget(subject, shadow.stands(subject))
    assert [volumes.glob(subject.shadows, each) for each in files] == [[], []], "nor answers of the shadow"
