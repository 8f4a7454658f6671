"""Run folders: writing them, reading them, and loading their operators."""
