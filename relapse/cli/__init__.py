"""The command `relapse`: audit a checkpoint, check a study, see what it takes, run it.

It has no logic of its own: every subcommand calls the packages that the workflow calls.
"""
