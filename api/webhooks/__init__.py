"""Webhooks: what forges send. Each kind of forge has a folder: how its deliveries are signed, and how they are read."""
