"""`mlops data sample`: the bundled table, written where a person asks for it, over nothing of theirs."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.data import SAMPLE, app
from lifecycle.core.errors import ConfigError, ConflictError


def test_the_same_again_changes_nothing_and_a_file_of_somebody_stays(tmp_path: Path) -> None:
    file, mine = tmp_path / "news.csv", tmp_path / "mine.csv"
    for _ in range(2):
        assert CliRunner().invoke(app, ["sample", str(file)]).exit_code == 0
        assert file.read_bytes() == SAMPLE.read_bytes()
    mine.write_text("my own")
    refused = CliRunner().invoke(app, ["sample", str(mine)])
    assert isinstance(refused.exception, ConflictError)
    assert mine.read_text() == "my own"


@pytest.mark.parametrize(("place", "error"), [("none/news.csv", ConfigError), (".", ConflictError)])
def test_a_place_where_no_file_can_be_is_said(tmp_path: Path, place: str, error: type[Exception]) -> None:
    refused = CliRunner().invoke(app, ["sample", str(tmp_path / place)])
    assert isinstance(refused.exception, error)
    assert list(tmp_path.iterdir()) == []
