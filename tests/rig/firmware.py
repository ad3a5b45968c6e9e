# SPDX-License-Identifier: GPL-2.0-or-later
"""The firmware of a namespace PC: asks the controller for its boot script, does what it says, and starts over when the
host's agent "reboots". Prints one line per step, which is the PC's console.

    python3 -m tests.rig.firmware HOSTD URL MAC DIR
"""
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid


def boot_script(url: str, mac: str) -> str:
    """The iPXE script, or '' when nobody answers eight times (start.ipxe): then the next boot device, the disk, is tried."""
    for pause in (2, 2, 2, 2, 2, 2, 2, 0):
        try:
            with urllib.request.urlopen(f"{url}/boot/script?mac={mac}&platform=pcbios", timeout=10) as answer:
                return answer.read().decode()
        except OSError as problem:
            print(f"network boot: {problem}", flush=True)
            time.sleep(pause)
    return ""


def host(hostd: str, cmdline: str, folder: pathlib.Path) -> None:
    """Runs the host's agent until it "reboots"; a crash is respawned, as the host image does."""
    (folder / "cmdline").write_text(cmdline + "\n", encoding="utf-8")
    rebooted = folder / "rebooted"
    rebooted.unlink(missing_ok=True)
    reboot = folder / "reboot"
    reboot.write_text(f"#!/bin/sh\nexec touch {rebooted}\n", encoding="ascii")
    reboot.chmod(0o755)
    options = {"cmdline": folder / "cmdline", "boot_id": uuid.uuid4(), "reboot_command": reboot, "accel": "tcg",
               "run_dir": folder / "run", "image_dir": folder / "images", "vm_dir": folder / "vm",
               "console": folder / "screen"}
    shutil.rmtree(folder / "run", ignore_errors=True)  # RAM: empty after a reset
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    while not rebooted.exists():
        subprocess.run([hostd, *words], check=False)


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
