"""How often the gate promotes a model that is no better, and how often one that is.

`python -m benchmarks.gate_error_rates` prints tables in markdown, and its progress to stderr. Pairs of models whose
true difference is known are drawn again and again, and each pair is decided by the functions that the gate itself
calls. Three classes (20, 50 and 30 % of the rows) are mistaken only for their neighbour in the middle, in such
proportions that a model's macro F1 equals its accuracy: the champion's is 0.7, the challenger's 0.7 plus the true gain.
On a share of the rows, the discordance, exactly one of them is right; where both are wrong, they mostly say the same.

The defaults take about ten minutes on two idle cores.
"""

import argparse
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import product
from multiprocessing import Pool
from typing import NamedTuple

import numpy as np

from lifecycle.gate import statistics
from lifecycle.gate.metrics import Predictions, named
from lifecycle.gate.rules import GateRules

ROWS = (100, 300, 1000, 3000)
DISCORDANCES = (0.05, 0.15)
GAINS = (-0.05, -0.03, -0.02, -0.01, 0.0, 0.02, 0.05, 0.1)
MIN_GAINS = (0.0, 0.02, -0.05, -0.02)
SHARES = np.array([0.2, 0.5, 0.3])
NEGATIVE_FOR_NEUTRAL = 0.4
"""Share of the mistaken neutral rows that are called negative; it makes each class be called as often as it occurs."""
CHAMPION = 0.7
SAME_MISTAKE = 0.9
CHUNK = 50
RULES = GateRules()


class Setting(NamedTuple):
    """A pair of models, and how many rows there are to compare them on."""

    rows: int
    discordance: float
    gain: float


Counts = dict[Setting, Counter[str]]
"""How often each rule promoted the challenger."""


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the processes end too
    settings = [each for each in map(Setting._make, product(options.rows, DISCORDANCES, GAINS)) if _asked(each)]
    counts = _decided(settings, options.comparisons, options.resamples, options.seed, options.jobs)
    print(f"{options.comparisons:,} comparisons per line, {options.resamples:,} resamples each, seed {options.seed}.")
    for min_gain in MIN_GAINS:
        print(f"\n`min_gain: {min_gain:g}`, confidence {RULES.confidence:g}\n")
        print("\n".join(_table(min_gain, settings, counts, options.comparisons)))
    worst = max(_wrong(settings, counts, options.comparisons), default=0.0)
    print(f"\nHighest rate of wrong promotions: {worst:.2%}; level {_level():.2%}.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, help="how many rows there are to compare on")
    parser.add_argument("--comparisons", type=int, default=2000, help="how many pairs are drawn per setting")
    parser.add_argument("--resamples", type=int, default=500, help="of each comparison; the gate takes 2,000")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--seed", type=int, default=1, help="of the simulation")
    return parser.parse_args()


def _asked(setting: Setting) -> bool:
    """A gain cannot exceed the share of rows on which the models differ; so many rows only a tolerated loss needs."""
    tolerated = setting.discordance == 0.05 and setting.gain in {-0.02, 0.0}
    return abs(setting.gain) <= setting.discordance and (setting.rows <= 1000 or tolerated)


def simulate(setting: Setting, rng: np.random.Generator) -> tuple[Predictions, Predictions]:
    """Draw the rows of one comparison: challenger and champion."""
    repaired = (setting.discordance + setting.gain) / 2
    broken = (setting.discordance - setting.gain) / 2
    truth = rng.choice(3, setting.rows, p=SHARES)
    fate = rng.choice(4, setting.rows, p=[CHAMPION - broken, repaired, broken, 1 - CHAMPION - repaired])
    mistake, other = _mistakes(truth, rng), _mistakes(truth, rng)
    same = rng.random(setting.rows) < SAME_MISTAKE
    challenger = np.where(np.isin(fate, (0, 1)), truth, mistake)
    champion = np.where(np.isin(fate, (0, 2)), truth, np.where(same, mistake, other))
    return _predictions(truth, challenger), _predictions(truth, champion)


def _mistakes(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.where(truth == 1, np.where(rng.random(len(truth)) < NEGATIVE_FOR_NEUTRAL, 0, 2), 1)


def _predictions(truth: np.ndarray, label: np.ndarray) -> Predictions:
    return Predictions(("negative", "neutral", "positive"), truth, label, np.full(len(truth), 0.5), None)


def decide(challenger: Predictions, champion: Predictions, resamples: int) -> Iterator[str]:
    """The rules that promote the challenger, by their `min_gain`; and `naive`, that it is not worse on these rows."""
    metric = named(RULES.metric, RULES)
    level = {"confidence": RULES.confidence, "resamples": resamples}
    gain = statistics.measure([metric], challenger, champion, **level).gain[metric.name]
    p = statistics.randomised_p(metric, challenger, champion, resamples=resamples) if gain.low > 0 else 1.0
    for min_gain in MIN_GAINS:
        if statistics.accepts_gain(gain, p, min_gain=min_gain, confidence=RULES.confidence):
            needed = {"margin": -min_gain, "power": RULES.power, **level}
            if min_gain >= 0 or len(challenger.truth) >= statistics.rows_needed(metric, challenger, champion, **needed):
                yield f"{min_gain:g}"
    if gain.value >= 0:
        yield "naive"


class _Chunk(NamedTuple):
    setting: Setting
    comparisons: range
    resamples: int
    seed: int


def _counted(chunk: _Chunk) -> tuple[Setting, Counter[str]]:
    found: Counter[str] = Counter()
    setting = chunk.setting
    for each in chunk.comparisons:
        key = [chunk.seed, each, setting.rows, round(setting.discordance * 1000), round(1000 + setting.gain * 1000)]
        found.update(decide(*simulate(setting, np.random.default_rng(key)), chunk.resamples))
    return setting, found


def _decided(settings: list[Setting], comparisons: int, resamples: int, seed: int, jobs: int) -> Counts:
    counts: Counts = {setting: Counter() for setting in settings}
    ranges = [range(first, min(first + CHUNK, comparisons)) for first in range(0, comparisons, CHUNK)]
    work = [_Chunk(setting, each, resamples, seed) for setting, each in product(settings, ranges)]
    begun = time.monotonic()
    with Pool(jobs) as pool:
        for done, (setting, found) in enumerate(pool.imap_unordered(_counted, work), start=1):
            counts[setting].update(found)
            sys.stderr.write(f"\r{done / len(work):4.0%}  {time.monotonic() - begun:.0f} s")
            sys.stderr.flush()
    sys.stderr.write("\n")
    return counts


def _level() -> float:
    return (1 - RULES.confidence) / 2


def _table(min_gain: float, settings: list[Setting], counts: Counts, comparisons: int) -> Iterator[str]:
    """Wrong promotions above, right ones below."""
    yield "| true gain | discordance | rows | promoted | 95 % interval | naive `>=` |  |"
    yield "|---:|---:|---:|---:|---:|---:|---|"
    for setting in sorted(settings, key=lambda each: (each.gain, each.discordance, each.rows)):
        promoted = counts[setting][f"{min_gain:g}"]
        share = statistics.wilson(promoted, comparisons, 0.95)
        naive = counts[setting]["naive"] / comparisons
        kind = "power" if setting.gain > min_gain else "above the level" if share.value > _level() else ""
        yield (
            f"| {setting.gain:+.2f} | {setting.discordance:.0%} | {setting.rows:,} | {share.value:.1%} "
            f"| {share.low:.1%} to {share.high:.1%} | {naive:.1%} | {kind} |"
        )


def _wrong(settings: list[Setting], counts: Counts, comparisons: int) -> Iterator[float]:
    for min_gain, setting in product(MIN_GAINS, settings):
        if setting.gain <= min_gain:
            yield counts[setting][f"{min_gain:g}"] / comparisons


if __name__ == "__main__":
    main()
