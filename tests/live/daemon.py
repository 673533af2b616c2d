"""The program under test: writes its sluice.ini, runs it, watches it."""

import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request

from servers import dying_with_us, free_port, wait_until

READY_SECONDS = 30
COMMAND_SECONDS = 60
CPU_CLOCK = 2  # with a process in the other bits, as clock_getcpuclockid() makes it
# What AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer write.
SANITIZER_REPORT = re.compile(r"ERROR: \w+Sanitizer|SUMMARY: \w+Sanitizer|runtime error:")
METRIC = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")


def queue_config(redis_server, db, queue=None, sluice=None, **database):
    """The configuration of one queue, `orders`, into the table `orders` of one database; keys of each section can be added."""
    return {
        "sluice": dict(sluice or {}),
        "redis": {"url": f"unix://{redis_server.socket}"},
        "database shop": db.section(**database),
        "queue orders": {"source": "list:orders", "database": "shop", "table": "orders", **(queue or {})},
    }


def ini_text(config):
    """{section: {key: value}} as an ini file."""
    lines = []
    for section, keys in config.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {value}" for key, value in keys.items()]
        lines.append("")
    return "\n".join(lines)


class Sluice:
    """One daemon. `config` is {section: {key: value}}; a free stats port, an admin socket and an instance name of its own are added where it has
    none. `log` is what it wrote to stderr so far, over all its starts."""

    def __init__(self, program, directory, config, name="sluice"):
        self.program = program
        self.name = name
        self.config = {section: dict(keys) for section, keys in config.items()}
        self.config_path = os.path.join(directory, f"{name}.ini")
        self.log_path = os.path.join(directory, f"{name}.log")
        self.process = None
        self.fault = None  # how it ended badly, after end()
        # two test runs on one machine must not meet in the lock of one instance name
        self.instance = self.config.setdefault("sluice", {}).setdefault("instance", f"{name}-{os.getpid()}")
        stats = self.config.setdefault("stats", {})
        stats.setdefault("listen", f"127.0.0.1:{free_port()}")
        stats.setdefault("admin_socket", os.path.join(directory, f"{name}.sock"))
        self.write_config()

    def write_config(self):
        with open(self.config_path, "w", encoding="utf-8") as file:
            file.write(ini_text(self.config))

    def start(self, wait=True):
        """Starts it; waits until /readyz says that Redis and every pool are up."""
        assert not self.running(), "nobody would end the one that runs"
        with open(self.log_path, "ab") as log:
            command = [self.program, "-c", self.config_path, "run"]
            self.process = subprocess.Popen(dying_with_us(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        if wait:
            self.wait_ready()
        return self

    @property
    def pid(self):
        return self.process.pid

    @property
    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def running(self):
        return self.process is not None and self.process.poll() is None

    def ready(self):
        """Does /readyz say so? A daemon that has ended is an error."""
        if not self.running():
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n{self.log[-3000:]}")
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            return False

    def wait_ready(self, seconds=READY_SECONDS):
        wait_until(self.ready, seconds, f"readiness of {self.name}")

    def wait_log(self, text, seconds=READY_SECONDS):
        wait_until(lambda: text in self.log, seconds, f"'{text}' in the log of {self.name}")

    def kill(self):
        """SIGKILL."""
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self, seconds=60):
        """SIGTERM; returns the exit code."""
        return self.signal(signal.SIGTERM).process.wait(seconds)

    def signal(self, number):
        self.process.send_signal(number)
        return self

    def end(self):
        """Ends it in whatever state it is; whether it ended well. How else is in `fault`."""
        self.fault = None
        if self.process is None:
            return True
        if self.running():
            self.signal(signal.SIGCONT)
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
                self.fault = "did not stop in time and was killed"
                return False
        if self.process.returncode:
            self.fault = f"exit code {self.process.returncode}"
        return self.fault is None

    def command(self, *words, text_input=None):
        """Runs another command of the program with the same file: its CompletedProcess, output as text."""
        return subprocess.run([self.program, "-c", self.config_path, *words], input=text_input, capture_output=True, text=True,
                              timeout=COMMAND_SECONDS, check=False)

    def get(self, route):
        """(status, body) of a page of the stats port."""
        try:
            with urllib.request.urlopen(f"http://{self.config['stats']['listen']}{route}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metrics(self):
        """{(name, labels as written): value}."""
        status, body = self.get("/metrics")
        assert status == 200, body
        found = {}
        for line in body.splitlines():
            if line and not line.startswith("#"):
                match = METRIC.match(line)
                assert match, f"not a metric: {line}"
                found[(match["name"], match["labels"] or "")] = float(match["value"])
        return found

    def metric(self, name, **labels):
        """The sum of the samples of this name that carry all these labels."""
        wanted = [f'{label}="{text}"' for label, text in labels.items()]
        return sum(value for (found, text), value in self.metrics().items() if found == name and all(want in text for want in wanted))

    def cpu_seconds(self):
        """User and system time since it started."""
        return time.clock_gettime(~self.pid << 3 | CPU_CLOCK)

    def peak_memory(self):
        """The most bytes it ever had in memory."""
        with open(f"/proc/{self.pid}/status", encoding="utf-8") as status:
            return int(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1]) * 1024

    def sanitizer_report(self):
        """What a sanitizer wrote, or None."""
        match = SANITIZER_REPORT.search(self.log)
        return self.log[match.start():][:4000] if match else None
