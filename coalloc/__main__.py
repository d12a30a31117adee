"""``python -m coalloc`` is ``coalloc``."""

from coalloc.cli import run

if __name__ == "__main__":
    run()
