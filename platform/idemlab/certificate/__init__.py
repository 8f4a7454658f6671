"""Measure how idempotent an operator is: errors, spectrum, verdict. Independent of experiments and runs."""
