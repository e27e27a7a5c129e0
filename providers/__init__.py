"""Providers: one folder each, always the same shape. They import only `twin.ports` and `twin.domain`."""
