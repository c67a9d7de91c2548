"""What a training step costs, counted and not timed: bytes kept for the backward pass, and floating-point operations."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode


def saved_bytes(loss: Callable[[], Tensor], parameters: Iterable[Tensor]) -> int:
    """Bytes that autograd holds when the forward pass of ``loss`` ends, which is their peak: every storage counted once, those of parameters not at all.

    Nothing is computed on the meta device and the count is the same there, so it depends on no machine. Not counted either: workspaces inside a kernel,
    gradients and optimiser moments, which are as large as the parameters and the same for every way of training one network.
    """
    parameter_storages = {parameter.untyped_storage()._cdata for parameter in parameters}
    kept = {}  # a storage is held here until the end, so that no other can take its address

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in parameter_storages:
            kept[storage._cdata] = storage
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        loss()
    return sum(storage.nbytes() for storage in kept.values())


def allocated_bytes(loss: Callable[[], Tensor]) -> int:
    """Bytes that the CUDA allocator hands out at the peak of one forward and backward pass, beyond what was there before (gradients included)."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    loss().backward()
    return torch.cuda.max_memory_allocated() - before


def training_flops(loss: Callable[[], Tensor]) -> int:
    """Floating-point operations of the products and convolutions in one forward and backward pass; a multiply-add counts as two."""
    with FlopCounterMode(display=False) as counter:
        loss().backward()
    return counter.get_total_flops()
