"""What a language model says of answers: which of their sentences the passages support; it is asked once about each.

What it said is kept by the digest of all that it was asked, and no text of it is, so that measuring again is the same.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from lifecycle.core.errors import ConfigError, MetricError
from lifecycle.core.refusals import refused_by_the_library
from lifecycle.problems.chat.endpoint import generated
from lifecycle.problems.chat.measures import SENTENCE
from lifecycle.problems.chat.settings import Settings
from lifecycle.settings.gate_rules import LanguageJudge
from lifecycle.storage.files import cache_folder, write_json

AT_ONCE = 8
SAYS = re.compile(r"\b(yes|no)\b")
OTHERWISE = "or take gate.language_judge out of the settings"
PROMPT = """Passages:
{passages}

Question: {question}

Sentences:
{sentences}

Do the passages support these sentences? Reply with one line for each sentence: its number, and yes or no."""

Asked = tuple[str, str, Sequence[str]]
"""A question, an answer to it, and the passages that it rests on."""


def supported(asked: Sequence[Asked], judge: LanguageJudge) -> list[float]:
    """Of each answer the share of sentences that its passages support, as a language model says.

    Raises:
        ConfigError: It refuses to answer.
        TransientError: It does not answer now.
        MetricError: It says something else.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [*pool.map(lambda one: _share(one, judge), asked)]


def _share(asked: Asked, judge: LanguageJudge) -> float:
    question, answer, passages = asked
    sentences = [part for part in SENTENCE.split(answer) if part.strip()]
    if not sentences or not passages:
        return 0.0
    numbered = "\n".join(f"{number}. {sentence}" for number, sentence in enumerate(sentences, 1))
    prompt = PROMPT.format(passages="\n\n".join(passages), question=question, sentences=numbered)
    kept = _place(prompt, judge)
    if kept.is_file():
        return float(json.loads(kept.read_text(encoding="utf-8")))
    settings = Settings(language_model=judge.language_model, endpoint=judge.endpoint)
    settings = settings._replace(timeout=judge.timeout, retries=judge.retries, max_tokens=16 * len(sentences) + 16)
    with refused_by_the_library("gate.language_judge: ", ConfigError, OTHERWISE):
        told = generated(prompt, settings, otherwise=OTHERWISE)
    said = SAYS.findall(told.casefold())
    if len(said) != len(sentences):
        what = f"the language judge {judge.language_model!r} said {told!r:.60} of {len(sentences)} sentences"
        raise MetricError(f"{what}, and not yes or no of each")
    share = said.count("yes") / len(said)
    with suppress(OSError):  # where nothing can be kept it is asked again
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_json(kept, share)
    return share


def _place(prompt: str, judge: LanguageJudge) -> Path:
    told = json.dumps([judge.language_model, judge.endpoint, prompt])
    return cache_folder() / "judged" / f"{hashlib.sha256(told.encode()).hexdigest()}.json"
