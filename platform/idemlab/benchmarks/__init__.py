"""Benchmarks: what a step of each enforcer costs on this machine, and where the time of a run goes."""
