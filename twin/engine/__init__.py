"""Running steps and timers: `execute` is shared by all engines, each engine decides only when and where."""
