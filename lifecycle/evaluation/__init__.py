"""Score a model on rows, and measure and compare what was stored of it.

`evaluate`     score a model on a side of a dataset version and keep the predictions beside its run
`comparable`   stored predictions of two models on the same rows, without those that either was trained on
`metrics`      measures of weighted rows
`statistics`   intervals, paired comparisons, tests, rows needed
`slices`       parts of the rows on which a challenger may not be much worse
`behaviour`    what may not change a prediction, what must, and what everybody gets right
`findings`     what these find, as values that are stored
"""

from typing import TYPE_CHECKING, Any

from lifecycle.core import earlier_names

if not TYPE_CHECKING:  # what is new is not to use the earlier names

    def __getattr__(name: str) -> Any:
        return earlier_names.of_package(__name__, name)
