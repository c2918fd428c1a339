"""The bundled list matches data/README.md and is part of the wheel."""

import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from mlp_lib import load_words

ROOT = Path(__file__).resolve().parent.parent
CONTENT = (ROOT / "data" / "names.txt").read_bytes()
README = (ROOT / "data" / "README.md").read_text(encoding="utf-8")


def test_counts_and_checksum_match_the_readme():
    lines = CONTENT.decode("ascii").splitlines()
    assert f"{len(lines):,} lines" in README
    assert f"{len(set(lines)):,} distinct" in README
    assert f"{len(lines) - len(set(lines)):,} lines repeat" in README
    assert f"{sum(len(w) + 1 for w in lines):,}\nexamples" in README
    assert hashlib.sha256(CONTENT).hexdigest() == re.search(r"`(a3[0-9a-f]{62})`", README).group(1)


def test_bundled_list_has_one_lower_case_word_per_line():
    assert re.fullmatch(rb"([a-z]{2,15}\n)+", CONTENT)
    assert load_words() == CONTENT.decode().split()


def test_bundled_list_is_found_from_any_folder(tmp_path, run_with_torch):
    found = run_with_torch("import mlp_lib; print(len(mlp_lib.load_words()))", cwd=tmp_path)
    assert found.stdout == "32178\n"


def test_wheel_contains_the_bundled_list(tmp_path, run_with_torch):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path / "site")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); "
        "import mlp_lib; print(mlp_lib.__file__); print(len(mlp_lib.load_words()))"
    )
    where, count = run_with_torch(code, tmp_path / "site", cwd=tmp_path).stdout.split()
    assert where.startswith(str(tmp_path)), "the import must use the installed copy"
    assert count == "32178"
    # nothing else is in the wheel
    top = {p.name for p in (tmp_path / "site").iterdir()}
    assert {name for name in top if not name.endswith((".dist-info", ".data"))} == {"mlp_lib", "nbval_tolerance.py"}
