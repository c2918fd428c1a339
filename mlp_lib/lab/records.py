"""Where files lie that outlast a session: the ladder and the record of solved exercises."""

import os
from pathlib import Path


def kept_in(name: str, variable: str) -> Path | None:
    """The file that the environment variable names, else `name` in ~/.local/share/mlp_lib; None where `CI` is set.

    Raises FileNotFoundError where a home folder is asked for and there is none.
    """
    try:
        if named := os.environ.get(variable):
            return Path(named).expanduser().absolute()
        if os.environ.get("CI", "").lower() not in ("", "0", "false"):
            return None
        data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    except RuntimeError:  # pathlib's word for a user without a home
        raise FileNotFoundError(
            f"no home folder was found to keep the record in: name a file in the environment variable {variable}"
        ) from None
    return Path(data).absolute() / "mlp_lib" / name
