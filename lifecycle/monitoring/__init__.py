"""Production is watched: every published batch is compared with what its model was like when it was judged.

`findings`   what was found of a batch, and the alerts that follow from several
`standings`  where each model stands, for light commands
`compare`    two distributions, with what chance makes of so many rows
`measure`    a published batch against the baseline of its version
`labels`     truths that come later, and how well each batch was answered
`watch`      all of a batch in order: measure, keep, see what is an alert
`store`      where measurements lie: one Parquet file per batch and version
"""
