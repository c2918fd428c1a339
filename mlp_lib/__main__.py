"""`python -m mlp_lib`: check that everything the course needs is there. The exit status is 1 if something is not."""

from __future__ import annotations  # an old Python must be able to print the line about its version

import argparse
import sys

from mlp_lib.course.environment import advice, check_environment


def main(arguments: list[str] | None = None) -> int:
    """Print one line for each thing the course needs and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m mlp_lib",
        description="Check everything the course needs and say, line by line, what is missing and how to get it.",
    )
    parser.parse_args(arguments)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may contain letters that the terminal cannot show
    items = check_environment()
    for item in items:
        print(item.line())
    print("\n" + advice(items))
    return 0 if all(item.ok for item in items) else 1


if __name__ == "__main__":
    sys.exit(main())
