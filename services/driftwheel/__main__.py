"""`python -m driftwheel` and the console script `driftwheel`."""

import sys


def main() -> None:
    """Run the command line. Without the server's parts installed it says how to get them."""
    try:
        from driftwheel.cli import main as run
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("driftwheel"):
            raise
        sys.exit(f"{missing.name} is not installed; run: pip install 'driftwheel[server]'")
    run()


if __name__ == "__main__":
    main()
