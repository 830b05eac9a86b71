"""`make sweep`, as an operator calls it."""

from infra.sweep.__main__ import main
from shared.object_store import output_keys
from tests.jobs import FAILURE, make_job
from tests.worker.courier.test_sweep import Bucket


def test_a_dry_run_says_what_would_go_and_removes_nothing(
    redis, valkey_server, s3_server, monkeypatch, capsys
):
    bucket = Bucket(redis, valkey_server, s3_server)
    for name in ("redis_url", "s3_endpoint", "s3_bucket"):
        monkeypatch.setenv(f"IMG2IMG_{name.upper()}", getattr(bucket.settings, name))
    monkeypatch.setenv("IMG2IMG_S3_ACCESS_KEY", s3_server.access_key)
    monkeypatch.setenv("IMG2IMG_S3_SECRET_KEY", s3_server.secret_key)
    monkeypatch.setenv("IMG2IMG_SWEEP_AFTER", "0")
    job = make_job()
    bucket.ledger.attempts.fail(bucket.ledger.running(job), FAILURE)
    [key] = output_keys(job, 1)
    bucket.put(key, job=job)

    assert main(["--dry-run"]) == 0
    assert capsys.readouterr().out == f"leftover {key}\nwould remove: 1 leftover\n"
    assert bucket.has(key)

    assert main([]) == 0
    assert capsys.readouterr().out == "removed: 1 leftover\n"
    assert not bucket.has(key)
