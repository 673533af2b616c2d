"""A browser: Debian's chromium, driven through chromedriver's HTTP interface (https://www.w3.org/TR/webdriver/)."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request

from servers import dying_with_us, free_port, wait_until, workspace

START_SECONDS = 60
KEYS = {"Tab": "\ue004", "Enter": "\ue007", "ArrowLeft": "\ue012", "ArrowRight": "\ue014", "Home": "\ue011", "End": "\ue010"}


def missing():
    """What is not installed, or None."""
    wanted = {"chromium": ("chromium", "chromium-browser", "google-chrome"), "chromium-driver": ("chromedriver",)}
    absent = [package for package, programs in wanted.items() if not any(shutil.which(program) for program in programs)]
    return " and ".join(absent) or None


class Browser:
    """One window, without a head."""

    def __init__(self):
        self.profile = tempfile.mkdtemp(prefix="browser", dir=workspace())
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(dying_with_us(["chromedriver", f"--port={port}"]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        env={**os.environ, "HOME": self.profile, "TMPDIR": self.profile}, start_new_session=True)
        wait_until(self._answers, START_SECONDS, "start of chromedriver")
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--window-size=1280,900",
                     f"--user-data-dir={self.profile}/profile"]
        options = {"browserName": "chrome", "goog:loggingPrefs": {"browser": "ALL"}, "goog:chromeOptions": {"args": arguments}}
        self.session = ""
        self.session = "/session/" + self.call("POST", "/session", {"capabilities": {"alwaysMatch": options}})["sessionId"]

    def _answers(self):
        try:
            return self.call("GET", "/status")["ready"]
        except OSError:
            return False

    def call(self, method, path, body=None):
        """The value that the driver answers with."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=START_SECONDS) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {error.read().decode()[:2000]}") from error

    def open(self, url):
        self.call("POST", self.session + "/url", {"url": url})

    def run(self, script, *args):
        """What a script returns that runs in the page."""
        return self.call("POST", self.session + "/execute/sync", {"script": script, "args": list(args)})

    def text(self, selector):
        """The text of the first such element; empty where there is none, or it cannot be seen."""
        return self.run("const e = document.querySelector(arguments[0]); return e === null || !e.checkVisibility() ? '' : e.innerText", selector)

    def wait_text(self, selector, words, seconds=30):
        """Waits until it contains these words."""
        wait_until(lambda: words.lower() in self.text(selector).lower(), seconds, f"'{words}' in {selector}, which is '{self.text(selector)}'", 0.1)

    def press(self, key):
        """A key, wherever the focus is."""
        code = KEYS[key]
        actions = [{"type": "key", "id": "keyboard", "actions": [{"type": "keyDown", "value": code}, {"type": "keyUp", "value": code}]}]
        self.call("POST", self.session + "/actions", {"actions": actions})

    def command(self, name, **parameters):
        """A command of the DevTools protocol."""
        return self.call("POST", self.session + "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def complaints(self):
        """What the console says since it was last asked."""
        return [line["message"] for line in self.call("POST", self.session + "/se/log", {"type": "browser"})]

    def close(self):
        try:
            if self.session:
                self.call("DELETE", self.session)
        finally:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            shutil.rmtree(self.profile, ignore_errors=True)
