"""The objective (operator, enforcer and sources in one module), its engines, preflight, optimisers and evaluation."""
