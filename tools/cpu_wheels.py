"""Print the pip option that takes PyTorch's small build, or nothing where the default build is wanted.

On Linux the default build of PyTorch brings gigabytes of CUDA libraries, which are of use with an NVIDIA driver only.
PyTorch's own index has a build of 200 MB without them. Where that index does not answer within five seconds, for
instance behind a firewall, the default build is taken. macOS and Windows have the small build by default.
"""

import shutil
import sys
import threading
import urllib.request
from pathlib import Path

INDEX = "https://download.pytorch.org/whl/cpu"


def cuda_is_useful() -> bool:
    """Whether this machine has an NVIDIA driver."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def answers(url: str, seconds: float = 5) -> bool:
    """Whether a GET of `url` succeeds within `seconds`, the look-up of the name included."""
    done = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(url, timeout=seconds):
                done.append(True)
        except OSError:
            pass

    # urlopen's own limit covers neither the look-up of the name nor several addresses, each tried in turn.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(done)


def main() -> None:
    """Print the option, if this machine is better off with it."""
    if sys.platform != "linux" or cuda_is_useful():
        return
    if answers(f"{INDEX}/torch/"):
        print(f"--index-url {INDEX}")
    else:
        print(f"{INDEX} does not answer: PyTorch's default build is taken, which may be large", file=sys.stderr)


if __name__ == "__main__":
    main()
