"""GitHub: pull requests, comments, commit statuses and deployments. See README.md."""

from providers.github.forge import GitHubKind

KIND = GitHubKind()

__all__ = ["KIND"]
