"""The stiffness model: weights of two logistic steps on the cues of pipeline.contact.

Step one separates soft muscle from tendon, attachment and bone; step two bone from tendon. Fitted
(ridge logistic regression; recipe: benchmarks/fit_stiffness.py) on simulated sessions of 20 guns,
muscle weighing 90 %: a false alarm is the more common error. Cues, in order: log of the force at
one crank radius over that of the bench's pads, log(1 + depth), log of the f0/2 amplitude over the
first harmonic, kurtosis and skewness of z, log(1 + cost of the fit); the last number of a row is
the offset.
"""

from __future__ import annotations

import numpy as np

STIFFNESS_MODEL = np.array(
    [
        [2.563, -4.204, 1.480, 1.270, -0.957, 2.939, -4.538],
        [-0.834, -0.284, 0.144, 0.949, 1.235, 1.646, -7.184],
    ]
)
