"""The learning rate of every step: constant, or falling linearly to zero, after a warm-up. Arithmetic only."""

from relapse.unlearning.settings import MethodSettings


def rate(settings: MethodSettings, step: int, steps: int) -> float:
    """Learning rate of step `step` (1 to `steps`).

    With warmup_steps = W, step t has t / W of `lr` up to W. With lr_schedule: linear, t > W has (T - t + 1) / (T - W)
    of it: all at W + 1, and 1 / (T - W) at T = `steps`.
    """
    warm = settings.warmup_steps
    if step <= warm:
        return settings.lr * step / warm
    if settings.lr_schedule == "constant":
        return settings.lr
    return settings.lr * (steps - step + 1) / (steps - warm)
