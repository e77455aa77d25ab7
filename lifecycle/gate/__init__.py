"""The decision whether a challenger replaces the champion: closed by default.

`statistics`      metrics from per-row predictions, with intervals; the paired comparison
`checks`          each rule of the gate as a check that passes or not, with its numbers
`replay`          the infrastructure check: a fresh process loads the model and reproduces its predictions
`verdict`         `judge`, which puts the checks together, and the `Verdict` it returns

Rules for slices, latency and size budgets, behaviour checks and the selftest that plants bad challengers take their
place in `checks`, beside those that are there.
"""
