"""`python -m genkit`, which is also what torchrun starts."""

from genkit.cli import main

if __name__ == "__main__":
    main()
