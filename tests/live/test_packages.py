"""The Debian package, the image, compose.yaml and the Kubernetes manifests: each name, path, port, route and key in them is one that there is. Longer
tests are commands of their own: contrib/debian.sh, contrib/container/try.sh, tests/debian13.sh."""

import glob
import json
import os
import re
import shutil
import subprocess
import urllib.parse

import pytest
import redis
from daemon import queue_config
from orders import make_table
from servers import Redis, find_program, wait_until

yaml = pytest.importorskip("yaml", reason="python3-yaml is not installed")

TREE = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
SECONDS = 60


def read(*path):
    with open(os.path.join(TREE, *path), encoding="utf-8") as file:
        return file.read()


def words(text):
    return " ".join(text.split())


def check_offline(build, directory, text):
    """What the program itself says of a sluice.ini, whose secrets are put in place."""
    secrets = os.path.join(directory, "secrets")
    os.makedirs(secrets, exist_ok=True)
    for name in re.findall(r"^password_file = \S+/([\w-]+)$", text, re.M):
        with open(os.path.join(secrets, name), "w", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write("secret\n")
    path = os.path.join(directory, "sluice.ini")
    with open(path, "w", encoding="utf-8") as file:
        file.write(re.sub(r"^(password_file = )\S+/", rf"\1{secrets}/", text, flags=re.M))
    done = subprocess.run([build.path("src/sluice"), "-c", path, "check", "--offline"], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(line.split(" = ", 1) for line in subprocess.run([build.path("src/sluice"), "-c", path, "show", "config"], capture_output=True,
                                                                text=True, timeout=SECONDS, check=True).stdout.splitlines() if " = " in line)


def seconds(text):
    return int(re.fullmatch(r"(\d+)s", text)[1])


# -- a release

def test_release_is_whole(build, tmp_path):
    """All that git knows, so that the commands of README.md work there too."""
    if not os.path.exists(os.path.join(TREE, ".git")) or not shutil.which("git"):
        pytest.skip("no checkout, or no git")
    known = subprocess.run(["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=TREE, capture_output=True, text=True, timeout=SECONDS, check=True)
    place = tmp_path / "sluice"
    subprocess.run(["make", "distdir", f"distdir={place}"], cwd=build.directory, capture_output=True, timeout=SECONDS, check=True)
    gone = [path for path in known.stdout.split("\0") if path and os.path.exists(os.path.join(TREE, path)) and not (place / path).exists()]
    assert not gone


# -- Debian

def paragraphs(*path):
    """The paragraphs of a control file, as dictionaries."""
    found = []
    for paragraph in re.split(r"\n\n+", read(*path).strip()):
        fields = re.findall(r"^([\w-]+):[ \n]*((?:.*)(?:\n[ \t].*)*)", paragraph, re.M)
        found.append({name: words(value) for name, value in fields})
    return found


def test_version():
    version = re.search(r"AC_INIT\(\[sluice\], \[([\d.]+)\]", read("configure.ac"))[1]
    assert re.match(r"sluice \(([\d.]+)\) ", read("debian", "changelog"))[1] == version
    assert f"image: sluice:{version}\n" in read("contrib", "kubernetes", "sluice.yaml")


def test_licence():
    text = read("debian", "copyright").split("License: ISC\n")[-1]
    assert words(re.sub(r"^ \.$", "", text, flags=re.M)) == words(read("LICENSE").split("authors\n", 1)[1])


def test_build_needs():
    """All that configure asks for, under the names that it tells people."""
    wanted = re.findall(r"SLUICE_NEED\(\[\w+\], \[[^]]+\], \[([\w+.-]+)\]\)", read("configure.ac"))
    needs = re.findall(r"[a-z0-9][a-z0-9+.-]+", paragraphs("debian", "control")[0]["Build-Depends"])
    assert len(wanted) > 6 and set(wanted) - set(needs) == set()
    assert {"libssl-dev", "libcmocka-dev", "pkgconf"} <= set(needs)


def test_package_files():
    for path in (read("debian", "sluice.examples") + read("debian", "sluice.docs")).split():
        assert os.path.exists(os.path.join(TREE, path)), path
    names = [name for paragraph in paragraphs("debian", "tests", "control") for name in paragraph["Tests"].split()]
    assert names == ["installed", "order"]
    for name in names + ["../rules"]:
        assert os.access(os.path.join(TREE, "debian", "tests", name), os.X_OK), name


def test_package_starts_nothing():
    rules = read("debian", "rules")
    assert re.search(r"^\tdh_installsystemd --no-enable$", rules, re.M)
    tmpfiles = read("contrib", "systemd", "tmpfiles.d", "sluice.conf")
    for mode, path in re.findall(r"^\tchmod (\d+) debian/sluice(\S+)$", rules, re.M):
        assert re.search(rf"^z {path} 0{mode} root sluice ", tmpfiles, re.M), "the package and tmpfiles.d want the same"


# -- the image

def containerfile():
    """[(instruction, its words)], lines joined."""
    text = re.sub(r"\\\n", " ", read("contrib", "container", "Containerfile"))
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line and not line.startswith("#")]


def test_containerfile():
    steps = containerfile()
    defaults = dict(rest.split("=") for step, rest in steps if step == "ARG")
    bases = [rest.split()[0] for step, rest in steps if step == "FROM"]
    assert [defaults[base.strip("${}")] for base in bases] == ["debian:12", "debian:12-slim"]
    last = steps[[step for step, _rest in steps].index("FROM", steps.index(("FROM", "${BUILD} AS build")) + 1):]
    user = dict(last)["USER"]
    assert re.fullmatch(r"([1-9]\d+):\1", user), "a number that is not root's"
    number = user.split(":", maxsplit=1)[0]
    assert f"groupadd --gid {number} sluice" in words(dict(last)["RUN"]) and f"useradd --uid {number} " in words(dict(last)["RUN"])
    check = json.loads(re.search(r"CMD (\[.*\])$", dict(last)["HEALTHCHECK"])[1])
    commands = re.findall(r'^COMMAND\("?(\w+)', read("src", "commands.def"), re.M)
    assert check[:2] == ["sluice", "show"] and "show" in commands and json.loads(dict(last)["CMD"]) == ["run"]
    for step, rest in steps:
        if step == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                assert os.path.exists(os.path.join(TREE, source)), source


def test_health(build, pg, clean, redis_server, redis_client, sluice):
    """The image's check says no when nobody answers."""
    make_table(pg)
    daemon = sluice(queue_config(redis_server, pg))
    assert daemon.command("show", "queues").returncode == 0
    assert daemon.stop() == 0
    assert daemon.command("show", "queues").returncode != 0


# -- compose.yaml

@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load(read("contrib", "container", "compose.yaml"))


def test_compose_secrets(compose):
    assert set(compose["services"]) == {"redis", "postgresql", "mariadb", "sluice", "sluice-mariadb"}
    assert all(set(secret) == {"file"} for secret in compose["secrets"].values())
    ignored = read(".gitignore").split() + read(".dockerignore").split()
    for name, service in compose["services"].items():
        assert set(service["secrets"]) <= set(compose["secrets"]), name
        for key, value in service.get("environment", {}).items():
            assert "PASSWORD" not in key or key == "MARIADB_RANDOM_ROOT_PASSWORD" or key.endswith("_FILE"), f"{name}: {key}"
            if key.endswith("_FILE"):
                assert os.path.dirname(value) == "/run/secrets" and os.path.basename(value) in service["secrets"], f"{name}: {key}"
    assert "/contrib/container/secrets/" in ignored and "contrib/container/secrets" in ignored


def test_compose_files(compose):
    """What is mounted from the tree is there; volumes are named; who is waited for has a check."""
    for name, service in compose["services"].items():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            if source.startswith("."):
                assert os.path.isfile(os.path.join(TREE, "contrib", "container", source)), source
            else:
                assert source in compose["volumes"], source
        assert "/" not in service["image"], "no registry is named"
        for other in service.get("depends_on", {}):
            assert "healthcheck" in compose["services"][other], f"{name} waits for {other}"


@pytest.mark.parametrize("name", ["sluice", "sluice-mariadb"])
def test_compose_configuration(compose, build, directory, name):
    service = compose["services"][name]
    file = next(volume.split(":")[0] for volume in service["volumes"] if volume.endswith("/sluice.ini:ro"))
    text = read("contrib", "container", file)
    settings = check_offline(build, directory, text)
    for path in re.findall(r"^password_file = (\S+)$", text, re.M):
        assert path.startswith("/run/secrets/") and os.path.basename(path) in service["secrets"]
    assert settings["database.shop.host"] in service["depends_on"] and urllib.parse.urlsplit(settings["redis.url"]).hostname in service["depends_on"]
    assert [port.split(":")[0] for port in service["ports"]] == ["127.0.0.1"] and service["ports"][0].endswith(settings["stats.listen"])
    assert seconds(service["stop_grace_period"]) > int(settings["sluice.drain_timeout"])
    assert service["read_only"] and service["cap_drop"] == ["ALL"]
    variables = compose["services"][settings["database.shop.host"]]["environment"]
    assert settings["database.shop.user"] in variables.values() and settings["database.shop.dbname"] in variables.values()
    assert (service.get("profiles"), settings["database.shop.driver"]) in ((None, "postgresql"), (["mariadb"], "mysql"))


class ComposedRedis(Redis):
    """By the command of compose.yaml, but for the places and the account."""

    def __init__(self, compose):
        super().__init__()
        self.password_file = os.path.join(self.directory, "password")
        with open(self.password_file, "w", encoding="utf-8") as file:
            file.write("secret\n")
        self.shell, flag, self.script = compose["services"]["redis"]["command"]
        assert flag == "-c"

    def command(self):
        script = self.script.replace("$$", "$").replace("/run/secrets/redis-password", self.password_file)
        script = script.replace("/etc/redis/redis.conf", os.path.join(TREE, "etc", "redis.conf")).replace("/data", self.directory)
        program = find_program("redis-server", "valkey-server")
        script, changed = re.subn(r"setpriv --reuid=redis \S+ \S+ redis-server -", f"{program} - --port {self.port}", script)
        assert changed == 1
        return [self.shell, "-c", script]

    def client(self, **options):
        return redis.Redis(port=self.port, password="secret", **options)


def test_composed_redis(compose):
    server = ComposedRedis(compose).start()
    try:
        settings = server.client(decode_responses=True).config_get("*")
        assert settings["appendonly"] == "yes" and settings["maxmemory-policy"] == "noeviction" and settings["requirepass"] == "secret"
        assert settings["bind"] == "* -::*" and not settings["unixsocket"] and settings["dir"] == server.directory
        with open(f"/proc/{server.process.pid}/cmdline", encoding="utf-8") as file:
            assert "secret" not in file.read(), "the password stands in no command line"
    finally:
        server.kill()


def test_orders_table(db):
    db.user_execute(read("contrib", "container", "orders.sql"))
    assert db.value("SELECT count(*) FROM orders") == 0


# -- Kubernetes

@pytest.fixture(scope="module")
def manifests():
    """{(kind, name): manifest}"""
    found = {}
    for path in sorted(glob.glob(os.path.join(TREE, "contrib", "kubernetes", "*.yaml"))):
        with open(path, encoding="utf-8") as file:
            for manifest in yaml.safe_load_all(file):
                key = manifest["kind"], manifest["metadata"]["name"]
                assert key not in found
                found[key] = manifest
    return found


@pytest.fixture(scope="module")
def pod(manifests):
    return manifests["Deployment", "sluice"]["spec"]["template"]


def test_kubernetes_configuration(manifests, pod, build, directory):
    text = manifests["ConfigMap", "sluice"]["data"]["sluice.ini"]
    settings = check_offline(build, directory, text)
    container, = pod["spec"]["containers"]
    assert settings["stats.listen"] == f":{container['ports'][0]['containerPort']}"
    assert pod["spec"]["terminationGracePeriodSeconds"] > int(settings["sluice.drain_timeout"])
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"] if "subPath" not in mount}
    assert mounts["config"] == "/etc/sluice" and mounts["run"] == os.path.dirname(settings["stats.admin_socket"])
    keys = re.findall(r"--from-file=([\w-]+)", read("contrib", "kubernetes", "sluice.yaml"))
    paths = re.findall(r"^password_file = (\S+)$", text, re.M)
    assert sorted(paths) == sorted(f"{mounts['passwords']}/{key}" for key in keys)
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["spec"]["volumes"]}


def test_kubernetes_rights(pod):
    user, = re.findall(r"^USER (\d+):", read("contrib", "container", "Containerfile"), re.M)
    rights = pod["spec"]["securityContext"]
    assert rights["runAsNonRoot"] and {rights["runAsUser"], rights["runAsGroup"], rights["fsGroup"]} == {int(user)}
    inner = pod["spec"]["containers"][0]["securityContext"]
    assert inner["readOnlyRootFilesystem"] and inner["allowPrivilegeEscalation"] is False and inner["capabilities"] == {"drop": ["ALL"]}
    secret, = [volume["secret"] for volume in pod["spec"]["volumes"] if "secret" in volume]
    assert secret["defaultMode"] & 0o037 == 0, "sluice refuses a password file that others may read"
    assert "env" not in pod["spec"]["containers"][0]


def test_kubernetes_belongs_together(manifests, pod):
    labels = pod["metadata"]["labels"]
    deployment, service = manifests["Deployment", "sluice"]["spec"], manifests["Service", "sluice"]
    assert deployment["replicas"] == 2 and deployment["selector"]["matchLabels"] == labels == service["spec"]["selector"]
    assert manifests["PodDisruptionBudget", "sluice"]["spec"] == {"maxUnavailable": 1, "selector": {"matchLabels": labels}}
    monitor = manifests["ServiceMonitor", "sluice"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {endpoint["port"] for endpoint in monitor["endpoints"]} <= {port["name"] for port in service["spec"]["ports"]}
    ports = {port["name"]: port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]}
    assert all(port["targetPort"] in ports and port["port"] == ports[port["targetPort"]] for port in service["spec"]["ports"])
    assert pod["metadata"]["annotations"]["prometheus.io/port"] == str(ports["stats"])


def test_kubernetes_routes(manifests, pod, pg, clean, redis_server, redis_client, sluice):
    """A daemon answers what the probes, Prometheus and KEDA ask."""
    container, = pod["spec"]["containers"]
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("liveness", "readiness")}
    assert {probe["port"] for probe in probes.values()} == {"stats"}
    assert (probes["liveness"]["path"], probes["readiness"]["path"]) == ("/healthz", "/readyz")
    routes = [probe["path"] for probe in probes.values()] + [pod["metadata"]["annotations"]["prometheus.io/path"]]
    routes += [endpoint["path"] for endpoint in manifests["ServiceMonitor", "sluice"]["spec"]["endpoints"]]
    make_table(pg)
    daemon = sluice(queue_config(redis_server, pg))
    assert [daemon.get(route)[0] for route in routes] == 4 * [200]
    scaled = [manifest["spec"] for (kind, _name), manifest in manifests.items() if kind == "ScaledObject"]
    asked = [trigger["metadata"] for spec in scaled for trigger in spec["triggers"]]
    assert len(asked) == 2
    for trigger in asked:
        url = urllib.parse.urlsplit(trigger["url"])
        assert (url.hostname, url.port) == ("sluice", manifests["Service", "sluice"]["spec"]["ports"][0]["port"])
        status, body = daemon.get(f"{url.path}?{url.query}")
        value = json.loads(body)
        for step in trigger["valueLocation"].split("."):
            value = value[int(step) if step.isdigit() else step]
        assert status == 200 and isinstance(value, (int, float)), trigger
    pg.stop()
    wait_until(lambda: daemon.get("/readyz")[0] == 503, SECONDS, "a daemon that is not ready")
    assert daemon.get("/healthz")[0] == 200, "it is not killed for a database that is down"
    pg.start()
