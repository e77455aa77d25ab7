"""The decision whether a challenger replaces the champion: closed by default.

`rules`           what an environment asks: settings, each with its default and its meaning
`verdict`         what is answered: the decision with everything that it rests on
`comparable`      stored predictions of two models on the same rows, without those that either was trained on
`metrics`         measures of weighted rows
`statistics`      intervals, paired comparisons, tests, rows needed
`slices`          parts of the rows on which a challenger may not be much worse
`behaviour`       what may not change a prediction, what must, and what everybody gets right
`infrastructure`  what it takes to run a model; `replay` proves it in a fresh process
`checks`          each rule as a check that passes or not, with its numbers
`weigh`           the checks together become a verdict; pure
`judge`           gathers what is stored, weighs it, keeps the verdict and its `report`
`selftest`        plants challengers whose fate is known (`planted`): the gate proves that it can refuse
"""
