"""The command line `twin`: a client of the REST API and nothing more."""
