"""The models file: what an entry may say, and how a wrong one is told."""

import pytest

from shared.models import Registry

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def read(tmp_path):
    def read(entries: str) -> Registry:
        (tmp_path / "models.yaml").write_text(f"models:\n{entries}")
        return Registry.read(tmp_path / "models.yaml", models_dir=tmp_path / "weights")

    return read


def test_paths_start_at_the_models_folder(read, tmp_path):
    registry = read("""
  one: {family: sd, source: one.safetensors, config: sd-configs}
  all: {family: sd, source: /elsewhere/all}
""")

    assert registry.get("one").source == tmp_path / "weights/one.safetensors"
    assert registry.get("one").config == tmp_path / "weights/sd-configs"
    assert str(registry.get("all").source) == "/elsewhere/all"


def test_a_hub_model_lies_under_its_id(read, tmp_path):
    registry = read(f"  ours/xl: {{family: sdxl, hub: org/xl, revision: {COMMIT}}}")

    card = registry.get("ours/xl")
    assert card.source == tmp_path / "weights/ours/xl"
    assert card.origin == f"org/xl@{COMMIT}"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("{family: sd}", "source: Field required"),
        ("{family: flax, source: x}", "family: Input should be"),
        ("{family: sd, source: x.ckpt}", "source: .ckpt files can run code"),
        ("{family: sd, source: x.safetensors}", "config: goes with a single .safetensors file"),
        ("{family: sd, source: x, config: y}", "config: goes with a single .safetensors file"),
        ("{family: sd, hub: org/x}", "hub and revision: one needs the other"),
        ("{family: sd, hub: org/x, revision: main}", "revision: String should match"),
        (f"{{family: sd, source: x, revision: {COMMIT}}}", "hub and revision: one needs the other"),
        (f"{{family: sd, hub: ../x/y, revision: {COMMIT}}}", "hub: String should match"),
        (
            f"{{family: sd, hub: org/x, revision: {COMMIT}, source: ../x}}",
            "source: must be inside the models folder",
        ),
        (
            f"{{family: sd, hub: a/b, revision: {COMMIT}, source: x.safetensors, config: y}}",
            "source: a folder, since hub names a repository",
        ),
        ("{family: sd, source: x, sha256: abc}", "sha256: String should match"),
        ("{family: sd, source: x, trust_remote_code: true}", "trust_remote_code: Extra inputs"),
    ],
)
def test_a_wrong_entry_names_the_model_and_the_field(read, entry, words):
    with pytest.raises(ValueError, match=f"models.yaml: broken: {words}"):
        read(f"  fine: {{family: sd, source: fine}}\n  broken: {entry}")


def test_every_wrong_entry_is_told_at_once(read):
    with pytest.raises(ValueError, match=r"(?s)one: source: .*two: source: "):
        read("  one: {family: sd}\n  two: {family: sd}")
