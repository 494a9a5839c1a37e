"""The stiffness model: weights of two logistic steps on the cues of pipeline.force.

Step one separates soft muscle from tendon, attachment and bone; step two bone from tendon. Fitted
(ridge logistic regression; recipe: benchmarks/fit_stiffness.py) on all simulated sessions of 260
guns, suites of seeds 53, 71, 97, 113 and 131, muscle weighing 90 %: a false alarm is the more
common error. Cues, in order: how much better a tendon explains the wave than muscle does, log(1 +
depth), log of the f0/2 amplitude over the first harmonic, kurtosis of z, bounce times peakedness,
log(1 + cost of the fit); the last number of a row is the offset.
"""

from __future__ import annotations

import numpy as np

STIFFNESS_MODEL = np.array(
    [
        [7.000, -3.472, 0.958, 2.088, 1.657, 1.409, -2.308],
        [-1.267, -0.820, 0.041, 0.796, -0.268, 1.207, -6.572],
    ]
)
