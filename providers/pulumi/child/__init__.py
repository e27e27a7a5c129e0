"""The child that runs Pulumi: programs, hooks and the CLI, without anything of the twin.

It knows Pulumi and the standard library alone, and is loaded under a name of its own (`__main__.py`): whatever a
bundle calls its modules (`providers`, `api`, `state`), they are found and not ours.
"""
