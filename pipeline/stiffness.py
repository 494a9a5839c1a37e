"""The stiffness model: weights of two logistic steps on the cues of pipeline.contact.

Step one separates soft muscle from tendon, attachment and bone; step two bone from tendon. Fitted by
`python -m benchmarks.fit_stiffness` on simulated guns (recipe and scores in docs/detection-quality.md).
Cues, in order: log spring constant [N at one crank radius], log(1 + depth), log of the f0/2 amplitude
over the first harmonic, kurtosis and skewness of z, log(1 + cost of the fit).
"""

from __future__ import annotations

import numpy as np

STIFFNESS_MODEL = np.array(
    [
        [3.272, -5.478, 0.228, 3.434, -0.602, 3.489, -24.95],
        [-0.989, -0.091, 0.026, 1.519, 2.324, 0.836, -4.351],
    ]
)
