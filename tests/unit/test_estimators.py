"""Model types, their parameters, and what is stored of a training."""

import pandas as pd
import pytest

from lifecycle.models import loading
from lifecycle.names import ModelType
from lifecycle.settings import Settings
from tests.conftest import train_model


@pytest.mark.parametrize("model_type", list(ModelType))
def test_every_type_answers_the_contract(news: Settings, model_type: ModelType) -> None:
    ref = train_model(news, model_type)
    texts = pd.DataFrame({"text": ["profit rose to a record", "loss widened", "profit rose to a record"]})
    predicted = loading.load(ref).predict(None, texts)
    assert list(predicted.columns) == ["label", "score"]
    assert predicted["label"].tolist() == ["positive", "negative", "positive"]
    assert predicted["score"].between(0, 1).all()
