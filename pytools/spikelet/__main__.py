"""`python -m spikelet` is the command `spikelet`."""

from spikelet.cli import main

if __name__ == "__main__":
    main()
