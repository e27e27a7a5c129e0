"""Code that others wrote, run in child processes: clean environment, own process group, dead when the worker is.

A room for providers. What runs here (builds, git, Pulumi programs, masking scripts) never shares a process with the
key of the vault.
"""
