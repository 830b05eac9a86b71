"""Tensors on their way to the host, which nobody waits for until somebody reads them."""

from typing import Any

import torch


class HostCopy:
    """Begun when it is made; the device goes on meanwhile."""

    def __init__(self, tensor: Any) -> None:
        on_device = tensor.is_cuda
        # Only pinned memory can be written to behind the back of the CPU.
        self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=on_device)
        self._host.copy_(tensor, non_blocking=True)
        self._done = torch.cuda.Event(blocking=True) if on_device else None
        if self._done is not None:
            self._done.record()

    def read(self) -> Any:
        """The tensor on the CPU; waits until it is there."""
        if self._done is not None:
            self._done.synchronize()
        return self._host
