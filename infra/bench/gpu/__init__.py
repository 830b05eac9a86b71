"""`make bench-gpu`: what one CUDA card does with models of the true sizes, as raw numbers.

The weights are random and made on the card: nothing is downloaded, and no picture means anything.

plan           what is measured, how thoroughly, and until when
models         SD 1.5, SDXL and Flux.1 dev, in the worker's pipeline and in plain diffusers
work           floating-point operations of one forward
card           clocks, memory and peak rates of the device
architectures  sizes, operations, and whether the numbers stay finite
exactness      ours beside plain diffusers in bf16, and the same bits for any neighbours
syncs          whether a step makes the CPU wait for the device
curve          step time by batch size
throughput     images per second, request bytes to PNG bytes, beside three rivals
memory         bytes by batch size, and a full device survived
warm_start     seconds until the first image, with a cold and a warm compile cache
"""
