"""Make matrices idempotent: the purification family of linear algebra, and an iteration that knows when to stop."""
