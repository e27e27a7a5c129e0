"""The pure domain: no I/O, no clock, no randomness. Everything here is a value or a function of values."""
