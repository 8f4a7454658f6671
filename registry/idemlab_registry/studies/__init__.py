"""The studies that idemlab ships: one module each, with `study()` and `examine(material)`."""
