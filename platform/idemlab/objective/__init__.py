"""What is trained and measured: operator, enforcer and sources in one module, its engines, preflight and evaluation."""
