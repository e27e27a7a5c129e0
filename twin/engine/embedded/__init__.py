"""The embedded engine: in the API's process, or any number of `twin worker` on one PostgreSQL. One job per file."""
