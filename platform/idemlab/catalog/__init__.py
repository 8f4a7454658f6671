"""The catalog of plugins: load them, look names up, check arguments, build things, and attribute errors to plugins."""
