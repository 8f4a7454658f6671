"""What is installed: loading plugins, looking names up, checking arguments, building things, and whose fault an error is."""
