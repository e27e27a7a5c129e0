"""Gitea and Forgejo: pull requests, comments and commit statuses. See README.md."""

from providers.gitea.forge import GiteaKind

KIND = GiteaKind()

__all__ = ["KIND"]
