"""`python -m echosearch` is the command `echosearch`."""

from echosearch.cli import main

if __name__ == "__main__":
    main()
