"""What comes of an image, of a decoder that it was too much for, and of one that was killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.errors import BadInput
from tests.processes import alive, decoders_of, page_faults, seconds_of_work, until
from tests.worker.gpu.pictures import encoded, noise, photo, png, progressive
from worker.gpu.decoder import DecoderLimits
from worker.gpu.decoder_pool import DecoderLost, DecoderPool
from worker.gpu.images import Bounds, Wanted, pixels

INIT = Wanted(field="init_image", width=64, height=64)
MASK = Wanted(field="mask_image", width=64, height=64, is_mask=True)
GOOD = encoded(photo())
PAGES_OF_THE_LARGE_ONE = 768


@pytest.fixture(scope="module")
def pool():
    with DecoderPool(2, DecoderLimits()) as pool:
        yield pool


@pytest.fixture(scope="module")
def slow() -> bytes:
    """Within all limits, and seconds of work."""
    return progressive(50, Image.new("RGB", (5000, 5000)))


@pytest.fixture
def only_decoder() -> Callable[[], int]:
    """The decoder of the pool that the test makes."""
    others = decoders_of(os.getpid())

    def find() -> int:
        [pid] = decoders_of(os.getpid()) - others
        return pid

    return find


def refusal(pool: DecoderPool, data: bytes, wanted: Wanted = INIT) -> str:
    with pytest.raises(BadInput) as refused:
        pool.decode(data, wanted)
    return refused.value.message


@pytest.mark.parametrize("wanted", [INIT, MASK, Wanted(field="x")], ids=["init", "mask", "own"])
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_a_decoder_makes_the_pixels_that_are_made_here(pool, wanted: Wanted, form: str):
    data = encoded(noise(), form)

    picture = pool.decode(data, wanted)

    assert np.array_equal(picture, pixels(data, wanted))
    assert picture.flags.writeable


def test_a_decoder_keeps_the_memory_of_an_image_for_the_next(only_decoder):
    large = encoded(noise((1024, 1024)), "JPEG")
    with DecoderPool(1, DecoderLimits()) as pool:
        for _ in range(3):
            pool.decode(large, INIT)
        before = page_faults(only_decoder())
        for _ in range(10):
            pool.decode(large, INIT)

        assert page_faults(only_decoder()) - before < PAGES_OF_THE_LARGE_ONE


def test_a_refusal_names_the_field_and_costs_no_decoder(pool):
    pool.decode(GOOD, INIT)
    before = decoders_of(os.getpid())

    assert refusal(pool, b"GIF89a") == "init_image is not a PNG, JPEG or WebP image"
    assert refusal(pool, GOOD[:60], MASK) == "mask_image is damaged: it cannot be decoded"

    assert decoders_of(os.getpid()) == before


def test_more_threads_than_decoders_take_turns(pool):
    with ThreadPoolExecutor(8) as threads:
        pictures = list(threads.map(lambda _: pool.decode(GOOD, INIT), range(40)))

    assert all(np.array_equal(picture, pictures[0]) for picture in pictures)
    assert len(decoders_of(os.getpid())) == 2


def test_limits_of_bytes_pixels_and_side_are_settings():
    bounds = Bounds(bytes=2**20, pixels=5000, side=80)
    with DecoderPool(1, DecoderLimits(bounds=bounds)) as pool:
        assert pool.decode(GOOD, INIT).shape == (64, 64, 3)
        assert refusal(pool, encoded(photo((81, 40)))).startswith("init_image has 81x40 pixels")
        assert refusal(pool, encoded(photo((80, 63)))).startswith("init_image has 80x63 pixels")
        assert refusal(pool, bytes(2**20 + 1)) == "init_image is larger than 1 MiB"


def test_an_image_that_takes_too_much_work_is_given_up(slow, only_decoder):
    with DecoderPool(1, DecoderLimits(work=0.1, wall=60)) as pool:
        pool.decode(GOOD, INIT)
        first = only_decoder()

        assert refusal(pool, slow) == "init_image: the decoder gave up after 0.1 s of work"

        assert pool.decode(GOOD, INIT).shape == (64, 64, 3)
        assert only_decoder() != first


def test_work_is_counted_for_each_image_afresh(only_decoder):
    large = encoded(noise((1500, 1500)))
    with DecoderPool(1, DecoderLimits(work=1, wall=60)) as pool:
        pool.decode(GOOD, INIT)
        first = only_decoder()
        while seconds_of_work(first) < 2.3:
            pool.decode(large, INIT)

        assert only_decoder() == first


def test_an_image_that_takes_too_long_is_given_up(only_decoder):
    with DecoderPool(1, DecoderLimits(wall=1)) as pool:
        pool.decode(GOOD, INIT)
        os.kill(first := only_decoder(), signal.SIGSTOP)

        assert refusal(pool, GOOD, MASK) == "mask_image: the decoder gave up after 1 s"

        assert not alive(first)
        assert pool.decode(GOOD, INIT).shape == (64, 64, 3)


def test_an_image_that_takes_too_much_memory_is_given_up_and_the_decoder_goes_on(only_decoder):
    with DecoderPool(1, DecoderLimits(memory=200_000_000)) as pool:
        large = png(5000, 5000, colour=0, raw=bytes(5001 * 5000))

        assert refusal(pool, large) == "init_image: the decoder gave up at 200 MB of memory"

        first = only_decoder()
        assert pool.decode(GOOD, INIT).shape == (64, 64, 3)
        assert only_decoder() == first


@pytest.mark.parametrize(
    ("number", "error", "reason"),
    [
        (signal.SIGSEGV, BadInput, "init_image: the decoder gave up for it cannot be decoded"),
        (signal.SIGKILL, DecoderLost, "it ended with -9"),
    ],
    ids=["crashed", "killed"],
)
def test_a_crash_is_the_images_fault_and_a_kill_is_not(slow, number, error, reason, only_decoder):
    with DecoderPool(1, DecoderLimits(work=60, wall=60)) as pool, ThreadPoolExecutor(1) as thread:
        pool.decode(GOOD, INIT)
        first, idle = only_decoder(), seconds_of_work(only_decoder())
        decoding = thread.submit(pool.decode, slow, INIT)
        until(lambda: seconds_of_work(first) > idle + 0.1)

        os.kill(first, number)

        with pytest.raises(error, match=reason):
            decoding.result()
        assert pool.decode(GOOD, INIT).shape == (64, 64, 3)


def test_a_decoder_that_was_killed_while_idle_is_replaced(only_decoder):
    with DecoderPool(1, DecoderLimits()) as pool:
        pool.decode(GOOD, INIT)
        os.kill(first := only_decoder(), signal.SIGKILL)
        until(lambda: not alive(first))

        assert pool.decode(GOOD, INIT).shape == (64, 64, 3)


def test_a_decoder_outlives_a_polite_signal_but_not_its_parent():
    program = """if True:
        import sys
        from worker.gpu.decoder import DecoderLimits
        from worker.gpu.decoder_pool import DecoderPool
        from worker.gpu.images import Wanted
        data = sys.stdin.buffer.read()
        pool = DecoderPool(1, DecoderLimits())
        pool.decode(data, Wanted(field="x"))
        print("decoded", flush=True)
        sys.stdin.close()
        while True: pool.decode(data, Wanted(field="x"))
    """
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program], **pipes) as parent:
        parent.stdin.write(GOOD)
        parent.stdin.close()
        assert parent.stdout.readline() == b"decoded\n"
        [decoder] = decoders_of(parent.pid)
        os.kill(decoder, signal.SIGTERM)
        os.kill(decoder, signal.SIGINT)
        before = seconds_of_work(decoder)
        until(lambda: seconds_of_work(decoder) > before + 0.05)

        parent.kill()

        until(lambda: not alive(decoder))


def test_a_decoder_ends_after_its_image_when_its_parent_is_killed_meanwhile(slow):
    program = """if True:
        import sys
        from worker.gpu.decoder import DecoderLimits
        from worker.gpu.decoder_pool import DecoderPool
        from worker.gpu.images import Wanted
        pool = DecoderPool(1, DecoderLimits())
        pool.check()
        print("ready", flush=True)
        pool.decode(sys.stdin.buffer.read(), Wanted(field="x"))
    """
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program], **pipes) as parent:
        assert parent.stdout.readline() == b"ready\n"
        [decoder] = decoders_of(parent.pid)
        idle = seconds_of_work(decoder)
        parent.stdin.write(slow)
        parent.stdin.close()
        until(lambda: seconds_of_work(decoder) > idle + 0.1)

        parent.kill()

        until(lambda: not alive(decoder))
        assert parent.stderr.read() == b""


def test_a_decoder_outlives_the_thread_that_started_it(only_decoder):
    with ThreadPoolExecutor(1) as thread:
        pool = thread.submit(DecoderPool, 1, DecoderLimits()).result()
    with pool:
        pool.check()
        first = only_decoder()
        pool.check()
        assert only_decoder() == first


def test_a_decoder_has_no_settings_no_torch_and_no_files_of_its_parent(
    monkeypatch, tmp_path, only_decoder
):
    monkeypatch.setenv("IMG2IMG_S3_SECRET_KEY", "canary")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    with (tmp_path / "open").open("w"), DecoderPool(1, DecoderLimits()) as pool:
        pool.decode(GOOD, INIT)
        process = Path("/proc", str(only_decoder()))

        assert b"canary" not in process.joinpath("environ").read_bytes()
        assert "torch" not in process.joinpath("maps").read_text()
        assert len(list(process.joinpath("fd").iterdir())) == 3
