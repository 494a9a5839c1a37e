"""The stiffness model: weights of two logistic steps on the cues of pipeline.force.

Step one separates soft muscle from tendon, attachment and bone; step two bone from tendon. Fitted
(ridge logistic regression; recipe: benchmarks/fit_stiffness.py) on all simulated sessions of 260
guns, suites of seeds 71, 97, 113, 131 and 139, muscle weighing 95 %: a false alarm is the more
common error. Cues, in order: how much better a tendon explains the wave than muscle does, log(1 +
depth), log of the f0/2 amplitude over the first harmonic, kurtosis of z, log of the work over the
no-load current, log(1 + cost of the fit), log of the percussion frequency over 36 Hz, log of the
fourth harmonic over the first, log of the crest factor. A row is what `terms` says, then the
offset.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def terms(cues: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the weights but the last belong to: cues (n, N_CUES), then their products by pairs."""
    n = cues.shape[1]
    products = [cues[:, i] * cues[:, k] for i in range(n) for k in range(i, n)]
    return np.column_stack([cues, *products])


STIFFNESS_MODEL = np.array(
    [
        [
            5.118, -0.2638, -0.06256, 0.9811, -0.8062, 1.225, -0.4858, 1.184, -5.097, 3.497,
            -1.266, -1.219, -0.8163, -0.4002, 0.5236, -5.971, 0.08581, 1.892, 0.6836, 0.0233,
            0.8714, 0.3185, -0.8892, 0.4829, -0.04725, -0.5466, -0.07965, 0.01127, 0.001472,
            -0.4841, 0.8245, -0.267, 0.9581, 0.1561, 0.1978, 0.4135, 2.417, -0.4358, 0.2279,
            -0.07851, -0.06933, 0.5151, 0.0159, -1.666, -0.313, -2.406, 0.06429, 0.5204, -1.356,
            0.02136, 5.244, -0.1022, 0.7081, -2.453, 2.332,
        ],
        [
            0.07052, -1.782, 0.1743, -0.05632, 0.7128, 0.7384, 3.088, 0.03544, 1.618, -3.484,
            -5.443, -0.01586, -0.4794, 1.664, -0.7617, -4.868, 0.4858, 0.2896, 1.58, 0.7675,
            0.02125, -0.896, 0.3409, -3.263, 0.2943, -1.532, -0.1527, 0.05804, -0.5647, -0.0882,
            0.1278, 0.2334, -0.4787, 0.02977, 0.03603, -0.00103, -0.467, 0.1149, -0.002724,
            0.1951, 0.1258, 0.5113, -0.1759, 0.02276, 0.03295, 0.9783, -0.1133, 0.09355, 5.612,
            -1.255, 4.305, -0.269, 0.12, -0.179, -6.004,
        ],
    ]
)  # fmt: skip
