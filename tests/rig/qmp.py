# SPDX-License-Identifier: GPL-2.0-or-later
"""The monitor of a QEMU, by its socket."""
import json
import pathlib
import socket


def qmp(path: pathlib.Path, command: str, **arguments) -> dict:
    """One command: system_reset, send-key, screendump, quit, ... The answer, with a member "return" or "error"."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(30)
        s.connect(str(path))
        lines = s.makefile("rw")
        lines.readline()
        for request in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
            lines.write(json.dumps(request) + "\n")
            lines.flush()
            answer = {}
            while "return" not in answer and "error" not in answer:
                answer = json.loads(lines.readline())
        return answer
