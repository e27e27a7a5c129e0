"""The twin: durable entities that stand for environments. Knows no HTTP and no infrastructure SDK."""
