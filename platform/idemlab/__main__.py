"""`python -m idemlab` is the command `idemlab`; `accelerate launch -m idemlab run ...` starts it in many processes."""

from .cli import main

main()
