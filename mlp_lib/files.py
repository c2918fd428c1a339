"""Files that outlast a session: where records are kept, and how they are written so that none is ever half there."""

import os
import tempfile
from pathlib import Path

import platformdirs


def record_path(name: str, variable: str) -> Path | None:
    """The file that the environment variable names, else `name` in the user's data folder; None where `CI` is set.

    Raises FileNotFoundError where a home directory is needed and there is none.
    """
    if named := os.environ.get(variable):
        return Path(named).expanduser().absolute()
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        return None
    folder = platformdirs.user_data_path("mlp_lib")
    if not folder.is_absolute():  # platformdirs leaves the "~" where there is no home directory
        raise FileNotFoundError(f"there is no home directory to keep {name} in: name a file in {variable}")
    return folder / name


def write_atomically(path: Path, content: bytes) -> None:
    """Replace the file in one move: a reader, or a run that is killed, sees the old content or the new, never half.

    A link is followed. Raises OSError if the file cannot be written; what was there is then still there.
    """
    path, temporary = Path(os.path.realpath(path)), None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # on the disk before it takes the place of the old content
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(f"could not write {path} ({error}); nothing was changed there") from None
        raise
