"""Three thousand seeded mutations of good images through one decoder."""

import os

import pytest

from shared.errors import BadInput
from tests.e2e.images.bombs import mutation
from tests.processes import decoders_of, resident_bytes
from tests.worker.gpu.pictures import FORMATS
from worker.gpu.decoder import DecoderLimits
from worker.gpu.decoder_pool import DecoderPool
from worker.gpu.images import Wanted

WANTED = Wanted(field="init_image", width=64, height=64)
EACH = 1000


def outcome(pool: DecoderPool, data: bytes) -> str:
    """`read`, or why not."""
    try:
        assert pool.decode(data, WANTED).shape == (64, 64, 3)
    except BadInput as refused:
        return refused.message
    return "read"


@pytest.mark.parametrize("name", FORMATS)
def test_a_mutation_is_read_or_refused_and_one_decoder_survives_them_all(name: str):
    with DecoderPool(1, DecoderLimits(wall=60)) as pool:
        outcomes = [outcome(pool, mutation(name, seed)) for seed in range(100)]
        decoders = decoders_of(os.getpid())
        memory = sum(map(resident_bytes, decoders))

        outcomes += [outcome(pool, mutation(name, seed)) for seed in range(100, EACH)]

        assert decoders_of(os.getpid()) == decoders
        assert sum(map(resident_bytes, decoders)) - memory < 20 * 2**20

    assert "read" in outcomes
    assert {reason.partition(" ")[0] for reason in outcomes} == {"read", "init_image"}
    assert not any("gave up" in reason for reason in outcomes)
