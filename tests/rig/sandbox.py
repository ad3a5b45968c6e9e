# SPDX-License-Identifier: GPL-2.0-or-later
"""Nothing outlives us. The rig runs in its own mount, process, network, host-name and IPC namespaces: when its
first process ends, for whatever reason (an exception, ^C, SIGKILL), the kernel ends every process in it and takes
its mounts, bridges, taps and named network namespaces away. Nothing in the machine's own network is touched.

    python3 tests/rig/sandbox.py COMMAND...     runs COMMAND in a new sandbox, its exit code is ours
"""
import ctypes
import os
import signal
import subprocess
import sys

MARK = "NIGHTCLASS_SANDBOX"
DAEMON_UID = 64123  # nightclassd's account: it exists in the sandbox only
# So may the one of VMs, which libvirtd wants to know even where they run as another: libvirt-daemon-system would make it,
# and start a libvirtd on the machine itself.
ACCOUNTS = (("nightclass", DAEMON_UID), ("libvirt-qemu", 64055))


def inside() -> bool:
    """True in a sandbox (ours or one that stands around us)."""
    return os.environ.get(MARK) == "1"


def command(argv: list[str]) -> list[str]:
    """argv of a process that runs `argv` as the first process of a new sandbox."""
    users = "".join(f"echo {name}:x:{number}:{number}::/nonexistent:/usr/sbin/nologin; " for name, number in ACCOUNTS)
    groups = "".join(f"echo {name}:x:{number}:; " for name, number in ACCOUNTS)
    prepare = (
        "mount -t tmpfs -o mode=755 run /run && mkdir -p /run/netns /run/lock && "
        "ip link set lo up && "
        f"{{ cat /etc/passwd; {users}}} >/run/passwd && mount --bind /run/passwd /etc/passwd && "
        f"{{ cat /etc/group; {groups}}} >/run/group && mount --bind /run/group /etc/group && exec \"$@\""
    )
    argv = [sys.executable, os.path.abspath(__file__), "--first", *argv]
    return ["unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child=SIGKILL",
            "--mount-proc", "--propagation", "private", "sh", "-c", prepare, "sandbox", *argv]


def workshop(argv: list[str]) -> list[str]:
    """The same for work on the machine itself, in its own network: only processes and mounts end with it."""
    argv = [sys.executable, os.path.abspath(__file__), "--first-of-all", *argv]
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc", "--propagation", "private",
            *argv]


def run(argv: list[str], pass_fds: tuple[int, ...] = (), around=command, output=None) -> int:
    """Runs argv in a new sandbox and waits; ^C and SIGTERM are passed on, then the sandbox gets 20 s to end well. Its
    exit code, or 128 and the signal that we were told to end by. around: command or workshop; output: a file."""
    if os.geteuid() != 0:
        print("rig: needs root (it makes network namespaces); run it with sudo", file=sys.stderr)
        return 1
    env = dict(os.environ, **({MARK: "1"} if around is command else {}))
    libc = ctypes.CDLL(None)
    die_with_parent = 1  # PR_SET_PDEATHSIG
    # A session of its own: a terminal's ^C reaches us alone, and we decide what the sandbox hears.
    child = subprocess.Popen(around(argv), env=env, pass_fds=pass_fds, start_new_session=True, stdout=output, stderr=output,
                             preexec_fn=lambda: libc.prctl(die_with_parent, signal.SIGKILL))
    told = []

    def forward(signo, _frame):
        told.append(signo)
        for pid in first_processes(child.pid):
            os.kill(pid, signo)
        signal.alarm(20)

    def give_up(_signo, _frame):
        for pid in first_processes(child.pid):  # `unshare` waits until the kernel has ended all the others
            os.kill(pid, signal.SIGKILL)

    before = {signo: signal.signal(signo, handler) for signo, handler in
              ((signal.SIGINT, forward), (signal.SIGTERM, forward), (signal.SIGALRM, give_up))}
    status = child.wait()
    signal.alarm(0)
    for signo, handler in before.items():
        signal.signal(signo, handler)
    if told:
        return 128 + told[0]
    return status if status >= 0 else 128 - status


def first(argv: list[str], tell_all: bool = False) -> int:
    """The first process of a sandbox: runs argv, passes signals on (tell_all: to every process, as SIGTERM), and reaps
    orphans. A process that made itself a daemon (QEMU under libvirt) would stay a zombie otherwise, and libvirt waits
    40 s for it to go."""
    stop = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)  # what comes before we can pass it on is kept, not dropped
    child = os.posix_spawnp(argv[0], argv, os.environ, setsigmask=())

    def pass_on(signo, _frame):
        os.kill(-1 if tell_all else child, signal.SIGTERM if tell_all else signo)

    for signo in stop:
        signal.signal(signo, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, stop)
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def first_processes(unshare_pid: int) -> list[int]:
    """The processes directly under `unshare`: the first of the sandbox, as seen from outside."""
    try:
        with open(f"/proc/{unshare_pid}/task/{unshare_pid}/children", encoding="ascii") as f:
            return [int(pid) for pid in f.read().split()]
    except OSError:
        return []


if __name__ == "__main__":
    if sys.argv[1:2] in (["--first"], ["--first-of-all"]):
        sys.exit(first(sys.argv[2:], sys.argv[1] == "--first-of-all"))
    sys.exit(run(sys.argv[1:]))
