import json

import pytest
from pydantic import ValidationError

from shared.config import Settings
from shared.tenants import Entry, Tenants, digest
from shared.webhooks import new_secret

SECRET = new_secret()


def test_inline_keys_belong_to_their_tenants():
    tenants = Tenants.read(Settings(api_keys="alice=key-of-alice, bob=key-of-bob,"))

    assert tenants.of_key("key-of-alice").tenant == "alice"
    assert tenants.of_key("key-of-bob").tenant == "bob"
    assert tenants.of_key("another-key") is None
    assert tenants.of_key("\ud800") is None


def test_a_keys_file_may_hold_hashes_only(tmp_path):
    file = tmp_path / "a=b.json"
    file.write_text(json.dumps([{"tenant": "alice", "key_sha256": digest("one"), "weight": 2}]))

    tenant = Tenants.read(Settings(api_keys=str(file))).of_key("one")

    assert (tenant.tenant, tenant.weight) == ("alice", 2)


def test_a_tenant_without_secret_signs_with_the_deployments():
    tenants = Tenants.read(Settings(api_keys="alice=key-of-alice", webhook_secret=SECRET))

    assert tenants.webhook_secrets("alice") == [SECRET]


def test_an_entry_without_a_key_is_refused(tmp_path):
    file = tmp_path / "keys.json"
    file.write_text(json.dumps([{"tenant": "alice"}]))

    with pytest.raises(ValidationError, match="key_sha256"):
        Tenants.read(Settings(api_keys=str(file)))


def test_a_tenant_keeps_its_secret_when_it_gets_a_second_key():
    tenants = Tenants(
        [
            Entry(tenant="alice", key="first-key", webhook_secret=SECRET),
            Entry(tenant="alice", key="second-key"),
        ]
    )

    assert tenants.webhook_secrets("alice") == [SECRET]
    assert tenants.of_key("second-key").tenant == "alice"


@pytest.mark.parametrize(
    "settings",
    [
        Settings(api_keys="alice=key-of-alice", webhook_secret="my-secret"),
        Settings(api_keys="alice"),
        Settings(api_keys="alice=tiny"),
    ],
)
def test_what_could_not_work_later_is_refused_at_the_start(settings):
    with pytest.raises(ValueError, match=r".") as refusal:
        Tenants.read(settings)

    assert "my-secret" not in str(refusal.value)
    assert "tiny" not in str(refusal.value)


def test_many_inline_keys_are_no_path():
    keys = ",".join(f"tenant{n}={n:048d}" for n in range(50))

    assert Tenants.read(Settings(api_keys=keys)).of_key(f"{7:048d}").tenant == "tenant7"
