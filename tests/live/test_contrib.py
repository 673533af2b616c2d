"""etc/redis.conf and what contrib/ has for other programs: each of them is asked what it thinks of its file."""

import json
import os
import re
import subprocess

import pytest
from daemon import queue_config
from orders import make_table
from servers import Redis, find_program, free_port

TREE = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
METRIC = re.compile(r"\b(?:sluice|process)_[a-z_]+\b")


def read(*path):
    with open(os.path.join(TREE, *path), encoding="utf-8") as file:
        return file.read()


def run(*words, **options):
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, **options)


def program(name):
    try:
        return find_program(name)
    except FileNotFoundError:
        return pytest.skip(f"{name} is not installed")


# -- Redis

class ConfiguredRedis(Redis):
    """By etc/redis.conf, but for the places."""

    def command(self):
        return [find_program("redis-server", "valkey-server"), os.path.join(TREE, "etc", "redis.conf"), "--unixsocket", self.socket, "--bind",
                "127.0.0.1", "--port", str(self.port), "--dir", self.directory]


def test_redis(pg, clean, sluice):
    server = ConfiguredRedis().start()
    try:
        make_table(pg)
        done = sluice(queue_config(server, pg), start=False).command("check")
        findings = [line for line in done.stdout.splitlines() if "  redis  " in line]
        assert done.returncode == 0 and len(findings) == 7, done.stdout
        assert all(line.startswith("ok ") for line in findings), "sluice check is content with all of it"
        settings = server.client(decode_responses=True).config_get("*")
        assert settings["tcp-keepalive"] == "60" and settings["tcp-backlog"] == "4096" and settings["save"] == ""
    finally:
        server.kill()


def test_descriptors_suffice_for_redis():
    clients = int(re.search(r"^maxclients (\d+)$", read("etc", "redis.conf"), re.M)[1])
    limit = int(re.search(r"^LimitNOFILE=(\d+)$", read("contrib", "systemd", "limits.conf"), re.M)[1])
    assert clients + 32 <= limit


# -- nginx, the kernel

NGINX = """daemon off;
pid {directory}/pid;
error_log {directory}/error.log;
events {{ worker_connections 512; }}
http {{
	access_log off;
	client_body_temp_path {directory}/body;
	proxy_temp_path {directory}/proxy;
	fastcgi_temp_path {directory}/fastcgi;
	uwsgi_temp_path {directory}/uwsgi;
	scgi_temp_path {directory}/scgi;
	include {directory}/orders-api.conf;
}}
"""


def test_nginx(directory):
    nginx = program("nginx")
    with open(f"{directory}/orders-api.conf", "w", encoding="utf-8") as file:
        file.write(read("contrib", "nginx", "orders-api.conf").replace("listen 80 ", f"listen 127.0.0.1:{free_port()} "))
    with open(f"{directory}/nginx.conf", "w", encoding="utf-8") as file:
        file.write(NGINX.format(directory=directory))
    done = run(nginx, "-t", "-p", directory, "-c", f"{directory}/nginx.conf", "-e", f"{directory}/error.log")
    assert done.returncode == 0 and "warn" not in done.stderr, done.stderr


def test_sysctl():
    settings = dict(re.findall(r"^([a-z0-9_.]+) = (.+)$", read("contrib", "sysctl", "60-sluice.conf"), re.M))
    assert len(settings) >= 8
    unknown = [key for key in settings if not os.path.exists("/proc/sys/" + key.replace(".", "/"))]
    if unknown and not os.path.exists("/proc/sys/net/core/somaxconn"):
        pytest.skip("this container does not show the network's settings")
    assert unknown == []


# -- Prometheus, Grafana

@pytest.fixture
def exposed(pg, clean, redis_server, redis_client, sluice):
    """What /metrics shows: names, and the values of the label `state`."""
    make_table(pg)
    text = sluice(queue_config(redis_server, pg)).get("/metrics")[1]
    return set(re.findall(r"^(\w+)[ {]", text, re.M)), set(re.findall(r'state="(\w+)"', text))


def check_expressions(text, exposed):
    names, states = exposed
    used = set(METRIC.findall(text))
    assert len(used) > 5 and used - names == set()
    assert set("|".join(re.findall(r'state=~?"([\w|]+)"', text)).split("|")) - {""} <= states


def test_alerts_use_what_there_is(exposed):
    expressions = re.findall(r"^ +expr: (.+)$", read("contrib", "prometheus", "sluice.rules.yml"), re.M)
    assert len(expressions) > 5
    check_expressions("\n".join(expressions), exposed)


def test_alerts():
    promtool = program("promtool")
    directory = os.path.join(TREE, "contrib", "prometheus")
    done = run(promtool, "check", "rules", "sluice.rules.yml", cwd=directory)
    assert done.returncode == 0, done.stdout + done.stderr
    done = run(promtool, "test", "rules", "sluice.rules.test.yml", cwd=directory)
    assert done.returncode == 0, done.stdout + done.stderr
    alerts = re.findall(r"^ +- alert: (\w+)$", read("contrib", "prometheus", "sluice.rules.yml"), re.M)
    assert set(alerts) == set(re.findall(r"^  - name: (Sluice\w+)$", read("contrib", "prometheus", "sluice.rules.test.yml"), re.M))


def test_dashboard(exposed):
    dashboard = json.loads(read("contrib", "grafana", "sluice.json"))
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 10
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places) and all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    queries = [variable["query"]["query"] for variable in dashboard["templating"]["list"] if variable["type"] == "query"]
    check_expressions("\n".join(expressions + queries), exposed)


def test_expressions_of_the_dashboard(directory):
    promtool = program("promtool")
    panels = json.loads(read("contrib", "grafana", "sluice.json"))["panels"]
    rules = [{"record": f"panel:{panel['id']}:{target['refId']}", "expr": target["expr"].replace("$__rate_interval", "5m")}
             for panel in panels for target in panel["targets"]]
    with open(f"{directory}/rules.yml", "w", encoding="utf-8") as file:
        json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)
    done = run(promtool, "check", "rules", f"{directory}/rules.yml")
    assert done.returncode == 0, done.stdout + done.stderr
