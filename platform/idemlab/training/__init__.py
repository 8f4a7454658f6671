"""The training loops, and what they alone need. The only room that knows Accelerate."""
