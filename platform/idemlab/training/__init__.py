"""The training loops and their parts. Only this package and those that use it know Accelerate."""
