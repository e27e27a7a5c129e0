"""Secrets at rest: the cipher and its keys. Where ciphertext lies is the store's concern."""
