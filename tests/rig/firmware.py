# SPDX-License-Identifier: GPL-2.0-or-later
"""The firmware of a namespace PC: asks the controller for its boot script, does what it says, and starts over when the
host's agent "reboots". Prints one line per step, which is the PC's console.

    python3 -m tests.rig.firmware HOSTD URL MAC DIR
"""
import pathlib
import re
import signal
import socket
import subprocess
import sys
import urllib.request


def boot_script(url: str, mac: str) -> str:
    """The iPXE script, or '' when nobody answers: then the next boot device, the disk, is tried."""
    try:
        with urllib.request.urlopen(f"{url}/boot/script?mac={mac}&platform=pcbios", timeout=10) as answer:
            return answer.read().decode()
    except OSError as problem:
        print(f"network boot: {problem}", flush=True)
        return ""


def host(hostd: str, cmdline: str, folder: pathlib.Path) -> None:
    """Runs the host's agent until it "reboots"; a crash is respawned, as the host image does."""
    (folder / "cmdline").write_text(cmdline + "\n", encoding="utf-8")
    rebooted = folder / "rebooted"
    rebooted.unlink(missing_ok=True)
    boot_id = pathlib.Path("/proc/sys/kernel/random/uuid").read_text(encoding="ascii").strip()
    (folder / "boot_id").write_text(boot_id, encoding="ascii")
    while not rebooted.exists():
        subprocess.run([hostd, "--cmdline", str(folder / "cmdline"), "--run-dir", str(folder / "hostd"), "--boot-id",
                        boot_id, "--reboot-command", f"/usr/bin/touch {rebooted}"], check=False)


def desktop() -> None:
    """The PC's own system: answers until the plug is pulled."""
    with socket.create_server(("0.0.0.0", 22222)) as server:
        print("desktop: ready", flush=True)
        while True:
            client, _ = server.accept()
            client.sendall(b"desktop ready\n")
            client.close()


def main(hostd: str, url: str, mac: str, folder: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    while True:
        script = boot_script(url, mac)
        kernel = re.search(r"^kernel\s+\S+\s+(.*nightclass\.url=.*)$", script, re.M)
        if not kernel:
            print("local disk", flush=True)
            desktop()
        print("host", flush=True)
        host(hostd, kernel.group(1), pathlib.Path(folder))
        print("reboot", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
