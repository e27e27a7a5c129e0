"""Previews of pull requests: what edges call about their sources, and the errands of pull requests and sources."""
