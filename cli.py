"""`python cli.py train vae` in a clone, without an installation."""

from genkit.__main__ import program

if __name__ == "__main__":
    program()
