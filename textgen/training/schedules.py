"""Learning-rate schedules."""

import math
import numbers

import keras


def warmup_cosine(
    peak: float, steps: int, warmup_steps: int = 200
) -> keras.optimizers.schedules.CosineDecay:
    """Returns a learning-rate schedule: linear warmup, then cosine decay to 0.

    The learning rate rises linearly from 0 to `peak` in `w = min(warmup_steps, steps //
    10)` steps. Then it falls along half a cosine to 0 at `steps`: at step `t` it is
    `peak * (1 + cos(pi * (t - w) / (steps - w))) / 2` (Loshchilov and Hutter, "SGDR:
    Stochastic Gradient Descent with Warm Restarts", ICLR 2017). If `w` is 0, it starts
    at `peak`.

    Args:
        peak: float. The highest learning rate.
        steps: int. Number of training steps: epochs times batches per epoch.
        warmup_steps: int. Steps of the warmup, limited to a tenth of `steps`. Defaults
            to `200`.

    Returns:
        A `keras.optimizers.schedules.CosineDecay`, for the argument `learning_rate` of
        a Keras optimizer.

    Raises:
        ValueError: An argument is out of range.

    Example:

    ```python
    epochs = 5
    schedule = textgen.warmup_cosine(2e-3, epochs * len(dataset))
    model.compile(keras.optimizers.Adam(schedule))
    model.fit(dataset, epochs=epochs)
    ```
    """
    if not 0 < peak < math.inf:
        raise ValueError(f"peak={peak} must be a positive, finite learning rate.")
    if not isinstance(steps, numbers.Integral) or steps < 1:
        raise ValueError(
            f"steps={steps} must be a positive integer: epochs times batches per epoch."
        )
    if not isinstance(warmup_steps, numbers.Integral) or warmup_steps < 0:
        raise ValueError(
            f"warmup_steps={warmup_steps} must be a non-negative integer; 0 switches "
            "the warmup off."
        )
    # NumPy's numbers would be part of the optimizer's configuration in a file.
    peak, steps = float(peak), int(steps)
    warmup_steps = min(int(warmup_steps), steps // 10)
    if warmup_steps == 0:
        # With a warmup target, CosineDecay would divide by the number of warmup steps.
        return keras.optimizers.schedules.CosineDecay(peak, steps)
    return keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup_steps, warmup_target=peak, warmup_steps=warmup_steps
    )
