"""What the twin needs from the world, one small Protocol per file."""
