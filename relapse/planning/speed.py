"""How fast this machine multiplies matrices, which predicted times follow from."""

import time

import torch


def speed(seconds: float = 0.3) -> float:
    """Floating-point operations a second of one job: a float32 product on one thread, or a bfloat16 one on a GPU."""
    gpu = torch.cuda.is_available()
    size, dtype = (4096, torch.bfloat16) if gpu else (512, torch.float32)
    left = torch.ones(size, size, dtype=dtype, device="cuda" if gpu else "cpu")
    threads, runs = torch.get_num_threads(), 0
    torch.set_num_threads(1)
    left @ left
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        left @ left
        runs += 1
    if gpu:
        torch.cuda.synchronize()
    torch.set_num_threads(threads)
    return 2 * size**3 * runs / (time.perf_counter() - start)
