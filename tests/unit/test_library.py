"""What programs may import: that it is what is said, and what it answers where there is nothing."""

import re
from datetime import date
from inspect import signature

import pytest

import mlops_lifecycle
from lifecycle import library
from lifecycle.core.errors import NotFoundError
from lifecycle.settings import Settings
from tests.conftest import ROOT


def test_the_functions_are_those_of_the_page_with_their_arguments() -> None:
    page = (ROOT / "docs/reference/python.md").read_text(encoding="utf-8")
    said = dict(re.findall(r"^\| `(\w+)\((.*?)\)` \|", page, re.M))
    assert set(said) == {name for name in library.__all__ if name.islower()}
    for name, arguments in said.items():
        named = [word.partition("=")[0].lstrip("*") for word in arguments.split(", ") if word != "*"]
        assert named == list(signature(getattr(library, name)).parameters)


def test_they_are_had_from_the_name_that_is_installed_and_nothing_else_is() -> None:
    assert mlops_lifecycle.load_model is library.load_model
    with pytest.raises(AttributeError, match="no attribute 'store'"):
        _ = mlops_lifecycle.store


def test_rows_are_those_of_the_splits_that_are_named(news: Settings) -> None:
    assert len(library.rows("news")) == 240
    assert set(library.rows("news", "1.0.0", "test", "holdout")["split"]) == {"test", "holdout"}
    assert news.datasets.is_dir()


@pytest.mark.usefixtures("news")
def test_what_is_not_there_is_said() -> None:
    with pytest.raises(NotFoundError, match=r"Nothing is published of prod.ml.sentiment for 2026-11-28"):
        library.predictions("sentiment", date(2026, 11, 28))
    with pytest.raises(NotFoundError):
        library.champion("sentiment")
