"""`python -m echosearch` is the command `echosearch`."""

from echosearch.start import main

if __name__ == "__main__":
    main()
