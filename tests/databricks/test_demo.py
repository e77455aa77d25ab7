"""`make demo-databricks` would notice a difference; that there is none takes minutes and is for its own run to show."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from databricks_emulator import demo

SAME = [*demo.SAME, demo.NAME]
TABLE = pa.table(
    {
        "row": [1, 2],
        "input_key": ["1", "2"],
        "label": ["good", "bad"],
        "score": [0.75, 0.5],
        "model_name": ["prod.ml.sentiment"] * 2,
        "model_version": [1, 1],
        "run_id": ["a", "b"],
    }
)


def publish(root: Path, table: pa.Table, inner: str = "") -> Path:
    """As a batch of one part per row, the last row first."""
    folder = root / "predictions/prod.ml.sentiment/1/0123456789abcdef" / inner
    folder.mkdir(parents=True)
    (folder / "manifest.json").touch()
    for number in range(table.num_rows):
        pq.write_table(table.slice(table.num_rows - number - 1, 1), folder / f"part-{number:05d}.parquet")
    return root


def test_the_same_predictions_in_another_order_and_of_another_run_are_the_same(tmp_path: Path) -> None:
    here = publish(tmp_path / "here", TABLE)
    there = publish(tmp_path / "there", TABLE.set_column(6, "run_id", [["c", "d"]]), "89abcdef01234567")
    assert demo.compare(here, there, "table", "table", SAME) == 2
    with pytest.raises(AssertionError, match="The tables differ"):
        demo.compare(here, there, "table", "another", SAME)


@pytest.mark.parametrize(("column", "value"), [("score", [0.75, 0.5000001]), ("label", ["good", "good"])])
def test_another_prediction_is_noticed(column: str, value: list[object], tmp_path: Path) -> None:
    here = publish(tmp_path / "here", TABLE)
    other = TABLE.set_column(TABLE.column_names.index(column), column, [value])
    with pytest.raises(AssertionError, match="The predictions differ"):
        demo.compare(here, publish(tmp_path / "there", other), "table", "table", SAME)


def test_the_table_ends_where_the_folder_is_named() -> None:
    assert demo.table_of("what  value\n\nPredictions: /tmp/x\n") == "what  value\n\n"
