"""What GitHub delivers, as news: `pull_request` and comments on pull requests; all else is nothing to us.

https://docs.github.com/en/webhooks/webhook-events-and-payloads
"""

from __future__ import annotations

from functools import partial

from api.webhooks.reading import translated

translate = partial(translated, is_pull=lambda told: told.issue.pull_request is not None)
"""See `twin.ports.deliveries.Translates`."""
