"""The files of a chain, and how it answers."""

from typing import NamedTuple

CHUNKS, BM25, PROMPT, CONFIG = "chunks.json", "bm25", "prompt.txt", "config.json"
VECTORS, NETWORK, TOKENIZER = "vectors.npy", "model.onnx", "tokenizer.json"
"""The files of a chain; the last three are those of one that finds passages by vectors."""
BY_WORDS, BY_VECTORS, BY_BOTH = "bm25", "embedding", "hybrid"
"""How passages are found."""
DATABRICKS = "databricks"
"""In place of an address: what the workspace serves."""
REFUSAL = "That is not in the documents."


class Settings(NamedTuple):
    """How a chain answers; what decides on its passages was settled when it was built.

    Attributes:
        algorithm: How passages are found: `bm25`, `embedding` or `hybrid`.
        top_k: Documents that are found for a question, each by its best passage.
        threshold: How well a passage must fit, as `Answer.score` says it, to be answered from.
        sentences: Of the best passage, at most so many are the answer.
        language_model: The name of one that answers instead; none: the sentences do.
        endpoint: Its address, of whatever speaks OpenAI's protocol, or `databricks`; none: that of OPENAI_BASE_URL.
        temperature: Of the language model.
        max_tokens: Of its answer.
        timeout: Seconds that it has.
        retries: How often it is asked again.
        falls_back: Whether the sentences answer where it fails; else that is an error.
    """

    algorithm: str = BY_WORDS
    top_k: int = 3
    threshold: float = 0.5
    sentences: int = 2
    language_model: str = ""
    endpoint: str = ""
    temperature: float = 0.0
    max_tokens: int = 300
    timeout: float = 30.0
    retries: int = 2
    falls_back: bool = False
