"""Erase a person's rows from everything that was made of them, and say what was touched.

`erase`        the whole: what holds the rows, then place after place, then a search that looks for what is left
`forms`        a text as JSON, HTML, Markdown and logs hold it, whole or cut
`datasets`, `predictions`, `artifacts`, `history`   the places

In `data`, because rows are read under them: `lock`, so that nothing reads rows meanwhile or after an interruption, and
`tombstones`, which keep erased rows out of what is made later.
"""
