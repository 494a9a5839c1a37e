"""The stiffness model: weights of two logistic steps on the cues of pipeline.force.

Step one separates soft muscle from tendon, attachment and bone; step two bone from tendon. Fitted
(ridge logistic regression; recipe: benchmarks/fit_stiffness.py) on all simulated sessions of 156
guns, suites of seeds 53, 71 and 97, muscle weighing 90 %: a false alarm is the more common error.
Cues, in order: how much better a tendon explains the wave than muscle does, log(1 + depth), log of
the f0/2 amplitude over the first harmonic, kurtosis of z, bounce times peakedness, log(1 + cost of
the fit); the last number of a row is the offset.
"""

from __future__ import annotations

import numpy as np

STIFFNESS_MODEL = np.array(
    [
        [6.401, -3.110, 0.711, 2.219, 1.415, 1.447, -4.053],
        [-1.268, -0.685, -0.011, 0.699, -0.207, 1.223, -6.573],
    ]
)
