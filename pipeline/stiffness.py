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
        [0.8, 0.0, 0.8, 1.5, 0.0, 0.0, -5.34],
        [1.5, 0.0, 0.0, 0.0, 0.0, 0.0, -5.0],
    ]
)
