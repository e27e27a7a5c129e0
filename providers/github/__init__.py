"""GitHub: pull requests, comments, commit statuses and deployments. See README.md."""

from importlib.util import find_spec

from providers.github.kind import GitHubKind

if find_spec("githubkit") is None:  # looked for and not imported: only a forge that is opened needs it
    raise ModuleNotFoundError("githubkit is not installed", name="githubkit")

KIND = GitHubKind()

__all__ = ["KIND"]
