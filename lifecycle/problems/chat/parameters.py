"""The parameters of a chain as a person gives them: how documents are cut, found and answered from."""

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, Field, ValidationError

from lifecycle.core.errors import ConfigError
from lifecycle.core.frozen import Frozen
from lifecycle.core.parameters import LanguageEndpoint
from lifecycle.problems import fitting
from lifecycle.problems.chat.settings import BY_WORDS, Settings
from lifecycle.settings.files import problems

DOCUMENTS, ENCODER, TOKENIZER = "documents", "encoder", "tokenizer"
USUAL = Settings()


class Parameters(Frozen):
    """All of them; what is not a parameter of the algorithm is refused before."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    documents: str = Field("", description="Folder of the documents.")
    chunk_size: int = Field(800, ge=50, le=20_000, description="Characters of a passage, at most.")
    top_k: int = Field(USUAL.top_k, ge=1, le=50, description="Documents that are found.")
    threshold: float | None = Field(None, ge=0, le=1, description="Score from which on it answers; default learnt.")
    encoder: str = Field("", description="Folder or installed package with `model.onnx` and `tokenizer.json`.")
    tokenizer: str = Field("", description="Where `tokenizer.json` lies, if elsewhere.")
    language_model: str = Field("", max_length=200, description="Model that answers from the passages; default none.")
    endpoint: LanguageEndpoint = Field("", description="Its address, or `databricks`; default OPENAI_BASE_URL.")
    prompt: str = Field("", description="Text with both fields, file, or `prompts:/NAME/VERSION`.")
    temperature: float = Field(USUAL.temperature, ge=0, le=2, description="Of the language model.")
    max_tokens: int = Field(USUAL.max_tokens, ge=1, le=100_000, description="Of its answer.")
    timeout: float = Field(USUAL.timeout, gt=0, le=3600, description="Seconds that it has.")
    retries: int = Field(USUAL.retries, ge=0, le=20, description="How often it is asked again.")
    falls_back: bool = Field(USUAL.falls_back, description="Where it fails, let the passages answer.")


def checked(algorithm: str, params: Mapping[str, Any]) -> Parameters:
    """The parameters of an algorithm, each as it may be.

    Raises:
        ConfigError: One is unknown or none that there can be, or no folder of documents is named.
    """
    valid = [name for name in Parameters.model_fields if name not in {ENCODER, TOKENIZER} or algorithm != BY_WORDS]
    if unknown := [option for option in params if option not in valid]:
        what = (
            f"{algorithm} has no parameter {', '.join(map(repr, unknown[:5]))}; valid are {', '.join(sorted(valid))}."
        )
        raise ConfigError(what, fitting.CORRECT)
    fitting.require_usable(algorithm, params)
    try:
        made = Parameters(**{name: value for name, value in params.items() if value is not None})
    except ValidationError as error:
        raise ConfigError(f"{algorithm}: {problems(error)}.", fitting.CORRECT) from None
    if not made.documents:
        fix = "Name it in the model's definition, data: {documents: FOLDER}, or with --params"
        raise ConfigError("There is no folder of documents to answer from.", f"{fix} \"{{'documents': 'FOLDER'}}\"")
    return made
