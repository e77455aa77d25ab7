"""Erase a person's rows from everything that was made of them, and say what was touched.

`erase`        the whole: what holds the rows, then place after place, then a search that looks for what is left
`lock`         nothing that reads rows runs meanwhile, and nothing runs after an interruption before it is completed
`tombstones`   what keeps erased rows out of the versions and batches that are made later
`forms`        a text as JSON, HTML, Markdown and logs hold it, whole or cut
`datasets`, `predictions`, `artifacts`, `history`   the places
"""
