# SPDX-License-Identifier: GPL-2.0-or-later
"""The rehearsal's web page for a browser on this machine: the lab servers live in a sandbox without any link to the
machine's network, so connections to a loopback port, opened outside and handed in, are passed on to one of them."""
import socket
import threading


def serve_page(night, listener_fd: int) -> None:
    """Passes the listener's connections to the first lab's controller and says where to look."""
    lab = night.north
    listener = socket.socket(fileno=listener_fd)
    token = lab.api("POST", "/tokens", {"name": "page", "role": "user"})["token"]

    def accept():
        while True:
            browser, _ = listener.accept()
            try:
                server = socket.create_connection((lab.uplink, 8443), timeout=5)
            except OSError:
                browser.close()
                continue
            server.settimeout(None)
            for source, sink in ((browser, server), (server, browser)):
                threading.Thread(target=copy, args=(source, sink), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    port = listener.getsockname()[1]
    night.say(f"watch it: https://127.0.0.1:{port}/#token={token}   (its certificate is the lab's own: accept it)")


def copy(source: socket.socket, sink: socket.socket) -> None:
    """Bytes one way until either end closes."""
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    finally:
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
