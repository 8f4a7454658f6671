"""Data sets and sources that idemlab ships, reached only through their entry point."""
