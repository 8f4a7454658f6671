"""How idempotent an operator is: errors, spectrum, verdict. Knows no experiment and no run."""
