"""Metrics that idemlab ships, reached only through their entry point."""
