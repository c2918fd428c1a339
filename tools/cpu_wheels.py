"""Print the pip option that selects PyTorch's small build, or nothing if the default build is the right one.

On Linux the default build of PyTorch includes gigabytes of CUDA libraries, which are useful only with an NVIDIA driver.
PyTorch's own index has a build of 200 MB without them. If that index does not answer within five seconds, for instance
behind a firewall, the default build is used. macOS and Windows get the small build by default.
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
    """Whether a GET of `url` succeeds within `seconds`, including the DNS lookup."""
    done = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(url, timeout=seconds):
                done.append(True)
        except OSError:
            pass

    # urlopen's own timeout does not cover the DNS lookup, and starts again for each address of the host.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(done)


def main() -> None:
    """Print the option if this machine should use it."""
    if sys.platform != "linux" or cuda_is_useful():
        return
    if answers(f"{INDEX}/torch/"):
        print(f"--index-url {INDEX}")
    else:
        print(f"{INDEX} does not answer: using PyTorch's default build, which may be large", file=sys.stderr)


if __name__ == "__main__":
    main()
