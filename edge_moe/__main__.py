"""python -m edge_moe: the command line, where the command itself is not on the path."""

from edge_moe.cli import main

if __name__ == "__main__":
    main()
