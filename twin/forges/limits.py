"""Bounds that all forges share."""

MOST_CONTENT = 256 << 10
"""Bytes of a file that is read from a commit: a preview's configuration is smaller."""

MOST_PATHS = 3000
"""Paths of a pull request. GitHub tells no more."""

LONGEST_SUMMARY = 140
"""Characters of a status. GitHub refuses more."""


def shortened(text: str) -> str:
    """In one line, and not longer than a forge takes."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_SUMMARY else line[: LONGEST_SUMMARY - 1] + "…"
