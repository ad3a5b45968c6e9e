# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's Chromium, headless, driven by its DevTools protocol over a pipe: standard library only.

    with Browser() as page:
        page.open("http://127.0.0.1:8099/")
        page.wait("document.querySelector('.seat')")
        page.screenshot("build/room.png")

Everything waits for a condition in the page; there is no sleeping for luck.
"""
import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

CHROMIUM = shutil.which("chromium")


class PageError(Exception):
    """What went wrong in the page, with what its console said."""


class Browser:
    def __init__(self, width=1400, height=1000):
        self.width, self.height, self.dark, self.phone = width, height, False, False

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="nightclass-browser-")
        ours_out, theirs_in = os.pipe()      # commands: the browser reads them at 3
        theirs_out, ours_in = os.pipe()      # answers: it writes them at 4
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                   "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars", "--remote-debugging-pipe",
                   "--user-data-dir=%s" % self.folder, "about:blank"]
        # The shell only moves our descriptors to the numbers that Chromium wants. Killed, it leaves its own folders in
        # TMPDIR: ours goes with everything in it.
        shell = ["/bin/bash", "-c", 'exec "$@" 3<&%d 4>&%d' % (ours_out, ours_in), "bash"] + command
        self.process = subprocess.Popen(shell, pass_fds=(ours_out, ours_in), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                                        env=dict(os.environ, TMPDIR=self.folder))
        os.close(ours_out)
        os.close(ours_in)
        self.out, self.answers = os.fdopen(theirs_in, "wb"), os.fdopen(theirs_out, "rb")
        self.number, self.rest, self.session = 0, b"", None
        self.errors, self.asked = [], []     # of the page: exceptions and console errors; URLs it fetched
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")
        self.shape()
        return self

    def __exit__(self, *exc):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)   # the session that we started, nothing else
        except ProcessLookupError:
            pass
        self.process.wait()
        self.out.close()
        self.answers.close()
        while os.path.exists(self.folder):     # its children die after it, and may write until then
            shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.out.write(json.dumps(message).encode() + b"\0")
        self.out.flush()
        while True:
            answer = self.read()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise PageError("%s: %s" % (method, answer["error"]["message"]))
                return answer["result"]

    def read(self):
        while b"\0" not in self.rest:
            part = os.read(self.answers.fileno(), 1 << 20)
            if not part:
                raise PageError("the browser ended")
            self.rest += part
        text, _, self.rest = self.rest.partition(b"\0")
        message = json.loads(text)
        self.note(message)
        return message

    def note(self, message):
        what, params = message.get("method"), message.get("params", {})
        if what == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif what == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append("%s %s" % (params["entry"]["text"], params["entry"].get("url", "")))
        elif what == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])

    def shape(self, width=None, height=None, dark=None, phone=None):
        """Size of the window in CSS pixels, colour scheme, phone or not."""
        self.width, self.height = width or self.width, height or self.height
        self.dark = self.dark if dark is None else dark
        self.phone = self.phone if phone is None else phone
        self.call("Emulation.setDeviceMetricsOverride", width=self.width, height=self.height, mobile=self.phone,
                  deviceScaleFactor=2 if self.phone else 1)
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if self.dark else "light"},
                            {"name": "prefers-reduced-motion", "value": "reduce"}])

    def trust_any_certificate(self):
        self.call("Security.enable")
        self.call("Security.setIgnoreCertificateErrors", ignore=True)

    def open(self, url):
        self.call("Page.navigate", url=url)

    def eval(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise PageError(details.get("exception", {}).get("description") or details["text"])
        return result["result"].get("value")

    def wait(self, condition, seconds=20):
        """Until the expression is true in the page; its value."""
        end, why = time.monotonic() + seconds, ""
        while True:
            try:
                value = self.eval("(() => { const value = %s; return value instanceof Node ? true : value })()"
                                  % condition)
                if value:
                    return value
                why = "it was %r" % (value,)
            except PageError as error:      # the page is still being loaded
                why = str(error)
            if time.monotonic() > end:
                raise PageError("never true in %d s: %s (%s); errors of the page: %s"
                                % (seconds, condition, why, self.errors))
            time.sleep(0.05)

    def text(self, selector):
        return self.eval("[...document.querySelectorAll(%s)].map((e) => e.innerText).join('\\n')"
                         % json.dumps(selector))

    def hover(self, selector):
        box = self.eval("(() => { const b = document.querySelector(%s).getBoundingClientRect();"
                        " return [b.x + b.width / 2, b.y + Math.min(b.height / 2, 20)] })()" % json.dumps(selector))
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])

    def key(self, key):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                      windowsVirtualKeyCode={"Tab": 9, "Escape": 27}[key])

    def screenshot(self, path, whole=True):
        png = base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"])
        if whole:
            height = self.eval("document.documentElement.scrollHeight")
            clip = {"x": 0, "y": 0, "width": self.width, "height": height, "scale": 1}
            png = base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True,
                                             clip=clip)["data"])
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with open(path, "wb") as file:
            file.write(png)
        return png
