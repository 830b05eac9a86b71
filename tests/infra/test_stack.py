"""The embedded stack's servers, folder and keys; the whole of it is tested end to end."""

import json
import signal
import socket
import subprocess
import sys
import time

import boto3
import pytest
import redis
from botocore.config import Config

from infra.local import Stack, StackError
from tests.processes import alive

SERVERS = ("redis", "s3")
RUNS_UNTIL_TOLD = """
import signal, sys
from infra.local import Stack
signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    with Stack(sys.argv[1], port=0, processes=("redis", "s3")) as stack:
        print(*(child.pid for child in stack.processes.values()), flush=True)
        stack.wait()
except KeyboardInterrupt:
    print("stopped")
"""


def s3_of(stack: Stack):
    settings = stack.settings_env
    return boto3.client(
        "s3",
        endpoint_url=settings["IMG2IMG_S3_ENDPOINT"],
        aws_access_key_id=settings["IMG2IMG_S3_ACCESS_KEY"],
        aws_secret_access_key=settings["IMG2IMG_S3_SECRET_KEY"],
        region_name="us-east-1",
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )


def test_jobs_and_images_outlive_a_restart(tmp_path):
    with Stack(tmp_path, port=0, processes=SERVERS) as stack:
        key, secret = stack.key, stack.webhook_secret
        with redis.Redis.from_url(stack.redis_url) as client:
            client.set("job", "queued")
        s3_of(stack).create_bucket(Bucket="img2img")
        s3_of(stack).put_object(Bucket="img2img", Key="a.png", Body=b"png")

    with Stack(tmp_path, port=0, processes=SERVERS) as stack:
        assert (stack.key, stack.webhook_secret) == (key, secret)
        with redis.Redis.from_url(stack.redis_url) as client:
            assert client.get("job") == b"queued"
        assert s3_of(stack).get_object(Bucket="img2img", Key="a.png")["Body"].read() == b"png"


def test_its_redis_keeps_a_log_on_disk_and_never_evicts(tmp_path):
    with (
        Stack(tmp_path, port=0, processes=("redis",)) as stack,
        redis.Redis.from_url(stack.redis_url, decode_responses=True) as client,
    ):
        settings = client.config_get("append*", "maxmemory-policy", "bind", "save")

    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "everysec"
    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["bind"] == "127.0.0.1"


def test_a_redis_that_is_killed_comes_back_with_its_data(tmp_path):
    with (
        Stack(tmp_path, port=0, processes=("redis",)) as stack,
        redis.Redis.from_url(stack.redis_url) as client,
    ):
        client.set("job", "queued")
        client.waitaof(1, 0, 5000)

        stack.kill("redis")
        stack.await_ready("redis")

        assert client.get("job") == b"queued"


def test_keys_are_made_once_for_the_owners_eyes(tmp_path):
    stack = Stack(tmp_path, port=0, processes=())
    stack.stop()

    assert stack.key.startswith("sk_local_")
    assert len(stack.key) == len("sk_local_") + 32
    assert json.loads((tmp_path / "keys.json").read_text()) == [
        {
            "tenant": "local",
            "key": stack.key,
            "scopes": ["submit", "read", "admin"],
            "webhook_secret": stack.webhook_secret,
        }
    ]
    secret = ("keys.json", "s3-keys.json", "redis-password.json")
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in secret} == {0o600}


def test_a_shell_can_take_over_the_settings_of_a_running_stack(tmp_path):
    with Stack(tmp_path, port=0, processes=("redis",)) as stack:
        say = f'set -a; . {tmp_path}/settings.env; exec "$0" -m api.keys create --tenant acme'
        done = subprocess.run(
            ["sh", "-c", say, sys.executable], check=True, capture_output=True, text=True
        )
        with redis.Redis.from_url(stack.redis_url) as client:
            kept = client.hlen("api_keys")

    assert "sk_live_" in done.stdout
    assert kept == 1
    assert (tmp_path / "settings.env").stat().st_mode & 0o777 == 0o600


def test_two_stacks_cannot_share_a_folder(tmp_path):
    with (
        Stack(tmp_path, port=0, processes=()),
        pytest.raises(StackError, match=r"another stack \(process \d+\) runs on"),
    ):
        Stack(tmp_path, port=0)


def test_a_port_that_was_asked_for_must_be_free(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StackError, match=f"port {port} is taken"):
            Stack(tmp_path, port=port)


def test_given_settings_win_and_replace_the_embedded_server(tmp_path):
    given = {"IMG2IMG_REDIS_URL": "redis://elsewhere/0", "IMG2IMG_API_KEYS": "acme=sk_1,b=sk_2"}
    stack = Stack(tmp_path, port=0, env=given, processes=SERVERS)
    stack.stop()

    assert list(stack.processes) == ["s3"]
    assert stack.redis_url == "redis://elsewhere/0"
    assert stack.key == "sk_1"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_running_however_the_stack_ends(tmp_path, number):
    stack = subprocess.Popen(
        [sys.executable, "-c", RUNS_UNTIL_TOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    pids = [int(pid) for pid in stack.stdout.readline().split()]
    assert all(alive(pid) for pid in pids)
    assert len(pids) == len(SERVERS)

    stack.send_signal(number)
    said, _ = stack.communicate(timeout=30)

    assert said == ("stopped\n" if number == signal.SIGTERM else "")
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_port_that_is_no_number_is_refused_by_name(monkeypatch):
    monkeypatch.setenv("PORT", "abc")
    tried = subprocess.run(
        [sys.executable, "-m", "infra.local"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert tried.returncode == 2
    assert "argument --port: invalid int value: 'abc'" in tried.stderr
