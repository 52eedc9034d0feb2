"""Several processes that answer queries, and one that does all else for them (docs/architecture.md)."""
