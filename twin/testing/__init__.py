"""For those who test against the twin, provider authors above all: builders, fakes and conformance suites."""
