"""Standings: enforcers that compete on a fixed suite of tasks, each tuned alike."""
