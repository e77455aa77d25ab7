"""Score a model on rows, and measure and compare what was stored of it.

`evaluate`     score a model on a split of a dataset version and keep the answers beside its run
`comparable`   stored answers of two models on the same rows, without those that either was trained on
`statistics`   paired comparisons, tests, rows needed
`bootstrap`    every metric of both models on the same resamples
`slices`       slices of the rows on which a challenger may not be much worse

What is measured is the problem's: `lifecycle.problems`.
"""

from typing import TYPE_CHECKING, Any

from lifecycle.core import earlier_names

if not TYPE_CHECKING:  # what is new is not to use the earlier names

    def __getattr__(name: str) -> Any:
        return earlier_names.of_package(__name__, name)
