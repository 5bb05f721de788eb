"""`python -m sa_engine` is the command `sa-engine`."""

from sa_engine.cli.main import main

if __name__ == "__main__":
    main()
