"""`python -m genkit`, which is also what torchrun starts."""

from genkit.cli import program

if __name__ == "__main__":
    program()
