"""Sweeps, figures and claims that answer one question, and the record that is kept of them."""
