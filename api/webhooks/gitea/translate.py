"""What Gitea and Forgejo deliver, as news: `pull_request` and comments on pull requests; all else is nothing to us.

https://docs.gitea.com/usage/webhooks; the payloads are those of Gitea's `modules/structs/hook.go`.
"""

from __future__ import annotations

from functools import partial

from api.webhooks.reading import translated

translate = partial(translated, is_pull=lambda told: told.is_pull)
"""See `twin.ports.deliveries.Translates`."""
