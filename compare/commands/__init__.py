"""One file a command: the dataclass of its options, which runs it when called. `compare/cli.py` lists them."""
