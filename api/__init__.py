"""Every edge of the twin. An edge translates; it holds no rule."""
