"""Who is champion, since when and why: a promotion log inside the model registry.

`log`        the log itself: pure functions over the versions of a registered model
`promotion`  register, promote, roll back, adopt: the only code that moves the champion alias
`catalog`    look models up: list, show, resolve a reference to one exact version
"""
