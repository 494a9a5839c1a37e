"""The stiffness model: weights of two logistic steps on the cues of pipeline.contact.

Step one separates soft muscle from tendon, attachment and bone; step two bone from tendon. Fitted
(ridge logistic regression; recipe: benchmarks/fit_stiffness.py) on 108 simulated sessions of 30 gun
models, muscle weighing 70 %: a false alarm is the more common error. Cues, in order: log spring
constant [N at one crank radius], log(1 + depth), log of the f0/2 amplitude over the first harmonic,
kurtosis and skewness of z, log(1 + cost of the fit); the last number of a row is the offset.
"""

from __future__ import annotations

import numpy as np

STIFFNESS_MODEL = np.array(
    [
        [3.073, -3.712, 1.153, 1.429, -2.132, 2.253, -13.477],
        [-0.700, -0.138, 0.057, 0.698, 1.054, 0.246, -0.968],
    ]
)
