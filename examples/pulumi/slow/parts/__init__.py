"""Twelve parts that need each other, in a cloud of files that takes its time."""
