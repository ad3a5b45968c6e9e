# SPDX-License-Identifier: GPL-2.0-or-later
"""`make demo`, outer half: opens the web page's port on loopback, runs the night in a sandbox, and afterwards looks
that nothing of it is left on the machine."""
import pathlib
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from tests.rig import sandbox  # noqa: E402


def listener() -> socket.socket:
    """A loopback port, 8443 when it is free."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        s.bind(("127.0.0.1", 8443))
    except OSError:
        s.bind(("127.0.0.1", 0))
    s.listen(16)
    s.set_inheritable(True)
    return s


def main() -> int:
    folder = pathlib.Path(sys.argv[1]).resolve()
    started = float(sys.argv[2]) if len(sys.argv) > 2 else time.time()
    page = listener()
    return sandbox.run([sys.executable, "-m", "tests.e2e.night", str(folder), str(started), str(page.fileno())],
                       pass_fds=(page.fileno(),))


if __name__ == "__main__":
    sys.exit(main())
