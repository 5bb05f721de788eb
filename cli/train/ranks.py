"""Which of the processes that torchrun started speaks."""

import os


def speaks() -> bool:
    """Whether this is the first of them, or the only one: the others have no result."""
    return os.environ.get("RANK", "0") == "0"
