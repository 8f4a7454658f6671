"""The folder that one experiment left: what is written there, and what can be read from it."""
