"""The REST edge: one file per resource, each a translation between HTTP and a use case; no rule lives here."""
