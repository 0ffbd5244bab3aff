"""`python cli.py train vae` in a clone, without an installation."""

from genkit.cli import main

if __name__ == "__main__":
    main()
