"""The stiffness model: weights of two logistic steps on the cues of pipeline.contact.

Step one separates soft muscle from tendon, attachment and bone; step two bone from tendon. Fitted
(ridge logistic regression; recipe: benchmarks/fit_stiffness.py) on simulated sessions of 16 gun
models, muscle weighing 70 %: a false alarm is the more common error. Cues, in order: log of the
force at one crank radius over that of the bench's pads, log(1 + depth), log of the f0/2 amplitude
over the first harmonic, kurtosis and skewness of z, log(1 + cost of the fit); the last number of a
row is the offset.
"""

from __future__ import annotations

import numpy as np

STIFFNESS_MODEL = np.array(
    [
        [3.281, -2.205, 1.510, 1.373, -0.928, 2.009, -4.677],
        [-0.595, 0.799, 0.211, 0.507, 1.344, 1.233, -3.953],
    ]
)
