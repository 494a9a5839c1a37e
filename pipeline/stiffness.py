"""The stiffness model: weights of two logistic steps on the cues of pipeline.contact.

Step one separates soft muscle from tendon, attachment and bone; step two bone from tendon. Fitted
(ridge logistic regression; recipe: benchmarks/fit_stiffness.py) on simulated sessions of 40 guns,
suites of seeds 53 and 71, muscle weighing 90 %: a false alarm is the more common error. Cues, in
order: log of the force at one crank radius over that of the bench's pads, log(1 + depth), log of
the f0/2 amplitude over the first harmonic, kurtosis and skewness of z, log(1 + cost of the fit);
the last number of a row is the offset.
"""

from __future__ import annotations

import numpy as np

STIFFNESS_MODEL = np.array(
    [
        [2.601, -4.191, 1.499, 1.271, -0.910, 2.908, -4.386],
        [-0.705, -0.098, 0.135, 0.931, 1.268, 1.602, -7.155],
    ]
)
