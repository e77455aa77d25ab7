"""The kinds of models: one folder each, and one entry in the table of `known`.

`contract`, `learning`, `judging`   what the other rooms ask a problem for
`metric`, `findings`, `shares`      measures of weighted rows, what is found by them, tests of shares of rows
`fitting`                           what all fitting has in common
`classification`, `regression`      what all problems share whose answer is a class, or a number
`tabular`                           what all problems share whose inputs are the columns of a table

Importing this imports nothing heavy: a manifest names its problem, and listing manifests must stay quick.
"""
