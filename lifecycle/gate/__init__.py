"""The decision whether a challenger replaces the champion: closed by default.

`verdict`    what is answered: the decision with everything that it rests on
`checks`     each rule as a check that passes or not, with its numbers
`decide`     evidence and rules become a verdict; pure
`judge`      gathers what is stored, decides, keeps the verdict and its report
`proof`      what it takes to run a model, proven in a fresh process
`present`    a verdict for people
`selftest`   plants challengers whose fate is known: the gate proves that it can refuse

What an environment asks for is in `settings.gate_rules`, the numbers come from `evaluation` and the problem.
"""
