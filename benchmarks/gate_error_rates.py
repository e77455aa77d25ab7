"""How often the gate lets in a model that is no better, and how often one that is.

`python -m benchmarks.gate_error_rates` prints tables in markdown, and its progress to stderr. Models whose true
difference is known are drawn again and again, and each draw is decided by the checks of the gate itself, by its default
rules. Three classes (20, 50 and 30 % of the rows) are mistaken only for their neighbour in the middle, in such
proportions that a model's macro F1 equals its accuracy: the champion's is 0.7, the challenger's 0.7 plus the true gain.
On a share of the rows, the discordance, exactly one of them is right; where both are wrong, they mostly say the same.
Of groups, such as customers, one half gains as much from the challenger as the other half loses, beside the true gain.

The defaults take about half an hour on two idle cores; `--only tries` and so on take a part of it.
"""

import argparse
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import chain, product
from multiprocessing import Pool
from typing import Literal, NamedTuple

import numpy as np

from lifecycle.evaluation import statistics
from lifecycle.gate import checks
from lifecycle.gate.contest import Contest, Terms
from lifecycle.problems.classification.scores import ClassScores
from lifecycle.problems.known import named
from lifecycle.problems.shares import wilson
from lifecycle.settings.gate_rules import GateRules

Kind = Literal["gain", "retraining", "first", "tries", "groups"]
ROWS = (230, 1000, 2900, 5000)
GAINS = (-0.03, -0.01, 0.0, 0.02, 0.035, 0.05)
RETRAINED = (-0.02, 0.0, 0.015)
DISCORDANCE = 0.1
OF_A_RETRAINING = 0.05
"""More rows of the same table change fewer predictions."""
FIRST = {"always the same": 0.0, "by the frequencies": 0.0, "weak but honest": 0.15}
"""Kinds of first champions, and on what share of the rows they know the answer instead of guessing it."""
TRIES = (1, 50, 200)
ROWS_OF_TRIES = 1000
GROUPS, GAINS_OF_GROUPS, BY_GROUP = (6, 10, 20, 50), (0.0, 0.03), 0.06
"""How many groups there are, true gains over all of them, and how much more or less one of them gains."""
SHARES = np.array([0.2, 0.5, 0.3])
NEGATIVE_FOR_NEUTRAL = 0.4
"""Share of the mistaken neutral rows that are called negative; it makes each class be called as often as it occurs."""
CHAMPION = 0.7
SAME_MISTAKE = 0.9
HOPELESS = 1.5
"""A try that is so many standard errors short of what is asked, counted in rows, is not computed any further."""
CHUNK = 25
CLASSES = ("negative", "neutral", "positive")


class Setting(NamedTuple):
    """What is drawn: for a gain and a retraining the true gain, for a first champion its kind by number."""

    kind: Kind
    rows: int
    discordance: float
    gain: float
    reuse: Literal["spend", "count"] = "spend"
    groups: int = 0

    @property
    def size(self) -> int:
        """What there is the more of, the more is known: the column of the table."""
        return self.groups or self.rows


Counts = dict[Setting, Counter[str]]
"""How often the challenger was promoted; of tries, by how many of them had been made."""


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the processes end too
    asked = [each for each in settings(options.rows) if each.kind in options.only]
    counts = _decided(asked, options.comparisons, options.resamples, options.seed, options.jobs)
    print(f"{options.comparisons:,} comparisons per line, {options.resamples:,} resamples each, seed {options.seed}.")
    for kind in options.only:
        of_kind = [each for each in asked if each.kind == kind]
        print("\n".join(["", *_table(kind, of_kind, counts, options.comparisons)]))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = ("gain", "retraining", "first", "tries", "groups")
    parser.add_argument("--only", nargs="+", choices=kinds, default=kinds, help="which tables")
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, help="how many rows there are to compare on")
    parser.add_argument("--comparisons", type=int, default=2000, help="how many are drawn per setting")
    parser.add_argument("--resamples", type=int, default=250, help="of each comparison; the gate takes 2,000")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--seed", type=int, default=1, help="of the simulation")
    return parser.parse_args()


def settings(rows: tuple[int, ...] = ROWS) -> Iterator[Setting]:
    """Everything that is asked, the dearest first; a gain cannot exceed the share of rows on which models differ."""
    for size in sorted(rows, reverse=True):
        for gain in GAINS:
            yield Setting("gain", size, DISCORDANCE, gain)
        for gain in RETRAINED:
            yield Setting("retraining", size, OF_A_RETRAINING, gain)
        for number, _ in enumerate(FIRST):
            yield Setting("first", size, 0.0, float(number))
    yield Setting("tries", ROWS_OF_TRIES, DISCORDANCE, 0.0)
    yield Setting("tries", ROWS_OF_TRIES, DISCORDANCE, 0.0, "count")
    for groups, gain in product(GROUPS, GAINS_OF_GROUPS):
        yield Setting("groups", ROWS_OF_TRIES, DISCORDANCE, gain, groups=groups)


# What is drawn


def simulate(setting: Setting, rng: np.random.Generator) -> tuple[ClassScores, ClassScores]:
    """Draw the rows of one comparison: challenger and champion."""
    truth = rng.choice(3, setting.rows, p=SHARES)
    right = rng.random(setting.rows) < CHAMPION
    champion = predictions(truth, np.where(right, truth, _mistakes(truth, rng)))
    return challenge(champion, setting, rng), champion


def challenge(champion: ClassScores, setting: Setting, rng: np.random.Generator) -> ClassScores:
    """Draw a challenger on the champion's rows: it repairs some and breaks some."""
    truth, right = champion.truth, champion.label == champion.truth
    gain = setting.gain + (BY_GROUP * rng.choice([-1, 1], setting.groups)[groups_of(setting)] if setting.groups else 0)
    repaired, broken = (setting.discordance + gain) / 2, (setting.discordance - gain) / 2
    flipped = rng.random(len(truth)) < np.where(right, broken / CHAMPION, repaired / (1 - CHAMPION))
    mistake = np.where(rng.random(len(truth)) < SAME_MISTAKE, champion.label, _mistakes(truth, rng))
    wrong = np.where(right, _mistakes(truth, rng), mistake)
    return predictions(truth, np.where(right ^ flipped, truth, wrong))


def groups_of(setting: Setting) -> np.ndarray:
    """The group of each row: all have as many."""
    return np.arange(setting.rows) % setting.groups


def first(setting: Setting, rng: np.random.Generator) -> ClassScores:
    """Draw a model without a champion to compare it with."""
    name, known = list(FIRST.items())[int(setting.gain)]
    truth = rng.choice(3, setting.rows, p=SHARES)
    guess = np.full(setting.rows, 1) if name == "always the same" else rng.choice(3, setting.rows, p=SHARES)
    return predictions(truth, np.where(rng.random(setting.rows) < known, truth, guess))


def _mistakes(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.where(truth == 1, np.where(rng.random(len(truth)) < NEGATIVE_FOR_NEUTRAL, 0, 2), 1)


def predictions(truth: np.ndarray, label: np.ndarray) -> ClassScores:
    """One model's labels, without probabilities."""
    return ClassScores(CLASSES, truth, label, np.full(len(truth), 0.5), None)


# What the gate says of it


def terms(rules: GateRules, contest: Contest) -> Terms:
    """How classifiers are compared by some rules."""
    judging = named("text-classification").judging
    completed = judging.completed(rules)
    return Terms(judging.named(completed.metric, completed), completed, contest)


def promoted(challenger: ClassScores, champion: ClassScores, asked: Terms) -> bool:
    """What the checks say that compare the two; one whose gain itself does not reach the limit needs no draws."""
    if statistics.difference(asked.metric, challenger, champion) <= asked.limit:
        return False
    models, rules = (challenger, champion), asked.rules
    measured = statistics.measure(
        [asked.metric], *models, confidence=rules.confidence, resamples=rules.resamples, groups=asked.groups
    )
    return checks.gain(measured, models, asked).outcome == "pass"


def is_first(challenger: ClassScores, rules: GateRules) -> bool:
    """Whether it would be the first champion."""
    asked = terms(rules, Contest(rule="first"))
    beyond = checks.beyond_trivial(named("text-classification"), challenger, asked)
    return all(check.outcome == "pass" for check in chain(checks.never_found(challenger, asked.rules), beyond))


def first_promoted(setting: Setting, rng: np.random.Generator, rules: GateRules) -> int | None:
    """Which of many equal challengers on the same rows is the first to be promoted, from 1; None if none is."""
    _, champion = simulate(setting, rng)
    for spent in range(max(TRIES)):
        asked = terms(rules, Contest(rule="gain", spent=spent))
        challenger = challenge(champion, setting, rng)
        flips = statistics.discordance(challenger, champion)
        seen = (flips.repaired - flips.broken) / np.sqrt(max(1, flips.repaired + flips.broken))
        if seen > _quantile(asked.risk) - HOPELESS and promoted(challenger, champion, asked):
            return spent + 1
    return None


def _quantile(risk: float) -> float:
    from scipy.stats import norm

    return float(norm.isf(risk))


def decide(setting: Setting, rng: np.random.Generator, resamples: int) -> Iterator[str]:
    """`promoted` if the challenger is; of tries, each number of them by which one was."""
    rules = GateRules(resamples=resamples, reuse=setting.reuse)
    if setting.kind == "first":
        accepted = is_first(first(setting, rng), rules)
    elif setting.kind == "tries":
        found = first_promoted(setting, rng, rules)
        yield from (str(tries) for tries in TRIES if found is not None and found <= tries)
        return
    else:
        contest = Contest(rule="retraining" if setting.kind == "retraining" else "gain")
        asked = terms(rules, contest)._replace(groups=groups_of(setting) if setting.groups else None)
        accepted = promoted(*simulate(setting, rng), asked)
    if accepted:
        yield "promoted"


class _Chunk(NamedTuple):
    setting: Setting
    comparisons: range
    resamples: int
    seed: int


def _counted(chunk: _Chunk) -> tuple[Setting, Counter[str]]:
    found: Counter[str] = Counter()
    setting = chunk.setting
    numbers = [setting.rows, round(setting.discordance * 1000), round(1000 + setting.gain * 1000), len(setting.kind)]
    numbers += [setting.groups] if setting.groups else []
    for each in chunk.comparisons:
        found.update(decide(setting, np.random.default_rng([chunk.seed, each, *numbers]), chunk.resamples))
    return setting, found


def _decided(asked: list[Setting], comparisons: int, resamples: int, seed: int, jobs: int) -> Counts:
    counts: Counts = {setting: Counter() for setting in asked}
    ranges = [range(first, min(first + CHUNK, comparisons)) for first in range(0, comparisons, CHUNK)]
    work = [_Chunk(setting, each, resamples, seed) for setting, each in product(asked, ranges)]
    begun = time.monotonic()
    with Pool(jobs) as pool:
        for done, (setting, found) in enumerate(pool.imap_unordered(_counted, work), start=1):
            counts[setting].update(found)
            sys.stderr.write(f"\r{done / len(work):4.0%}  {time.monotonic() - begun:.0f} s")
            sys.stderr.flush()
    sys.stderr.write("\n")
    return counts


# What is told of it


def _table(kind: Kind, asked: list[Setting], counts: Counts, comparisons: int) -> Iterator[str]:
    """A line per setting and a column per number of rows, or of tries."""
    columns: list[int] = list(TRIES) if kind == "tries" else sorted({each.size for each in asked})
    unit = kind if kind in {"tries", "groups"} else "rows"
    yield f"| {kind} | {' | '.join(f'{column:,} {unit}' for column in columns)} |"
    yield f"|---|{'---:|' * len(columns)}"
    lines = dict.fromkeys(_named(each) for each in sorted(asked, key=lambda each: (each.discordance, each.gain)))
    for line in lines:
        of_line = {each.size: each for each in asked if _named(each) == line}
        one = next(iter(of_line.values()))
        hits = [
            counts[one][str(column)] if kind == "tries" else counts[of_line[column]]["promoted"] for column in columns
        ]
        yield f"| {line} | {' | '.join(_share(count, comparisons) for count in hits)} |"


def _named(setting: Setting) -> str:
    if setting.kind == "first":
        return list(FIRST)[int(setting.gain)]
    told = f"{setting.gain:+g}, differing in {setting.discordance:.0%}"
    return f"{told}, reuse: {setting.reuse}" if setting.kind == "tries" else told


def _share(count: int, comparisons: int) -> str:
    share = wilson(count, comparisons, 0.95)
    return f"{share.value:.1%} ({share.low:.1%}–{share.high:.1%})"


if __name__ == "__main__":
    main()
