import json

import pytest
from pydantic import ValidationError

from shared.config import Settings
from shared.tenants import Tenants, digest


def test_inline_keys_belong_to_their_tenants():
    tenants = Tenants.read(Settings(api_keys="alice=one, bob=two"))

    assert tenants.of_key("one").tenant == "alice"
    assert tenants.of_key("two").tenant == "bob"
    assert tenants.of_key("three") is None


def test_a_keys_file_may_hold_hashes_only(tmp_path):
    file = tmp_path / "a=b.json"
    file.write_text(json.dumps([{"tenant": "alice", "key_sha256": digest("one"), "weight": 2}]))

    tenant = Tenants.read(Settings(api_keys=str(file))).of_key("one")

    assert (tenant.tenant, tenant.weight) == ("alice", 2)


def test_a_tenant_without_secret_signs_with_the_deployments():
    tenants = Tenants.read(Settings(api_keys="alice=one", webhook_secret="whsec_x"))

    assert tenants.webhook_secrets("alice") == ["whsec_x"]


def test_an_entry_without_a_key_is_refused(tmp_path):
    file = tmp_path / "keys.json"
    file.write_text(json.dumps([{"tenant": "alice"}]))

    with pytest.raises(ValidationError, match="key_sha256"):
        Tenants.read(Settings(api_keys=str(file)))
