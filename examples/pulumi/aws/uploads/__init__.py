"""A bucket for uploads, a queue of work on them, and a user who may use both."""
