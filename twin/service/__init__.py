"""Use cases: what edges call, and nothing below it. No HTTP, no SQL, no infrastructure."""
