"""The `linkerd` command: a folder is a group of commands, a file is a command.

A command module exposes `SUMMARY` (one line for the listing), `configure(parser)` and
`run(args) -> int`; its docstring is the text of `--help`; `USAGE`, when present, names its
arguments. It imports nothing heavy before `run`, because listing commands imports all of a folder.
Files that begin with `_` hold what several commands share.
"""

SUMMARY = "linkerd manages the Linkerd service mesh."
