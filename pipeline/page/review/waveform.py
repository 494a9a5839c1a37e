"""A recording of one gun as waveforms and a spectrogram, in seconds from a moment. Pure but for
the picture's encoding. May import `wire` and `model`, scipy and matplotlib (its image encoder).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.model import Frame, Received
from pipeline.wire import DecodeError, decode

Floats: TypeAlias = NDArray[np.float64]

# 30 s at 1600 Hz are 48,000 samples; at 6400 Hz every sample would be four times that, and a page
# of 7 MB. Beyond it the middle is shown. Engineering choice.
SAMPLES_MAX: Final = 100_000
# Half a second resolves 2 Hz: f0, f0/2 and the harmonics of a 20 Hz gun stand apart.
SPECTRUM_S: Final = 0.5
TOP_HZ: Final = 400.0  # ten harmonics of 40 Hz; above it little is said. Engineering choice
FLOOR_DB: Final = 60.0  # below the strongest, the darkest colour. Engineering choice
PAUSE: Final = 1.5  # sample intervals; more between two frames is a gap, and drawn as one


@dataclass(frozen=True, slots=True)
class Waveform:
    """`rows` are (seconds, x g, y g, z g, current A); a row of None breaks the line."""

    rows: tuple[tuple[float | None, ...], ...]
    from_s: float
    to_s: float
    rate_hz: float
    top_hz: float
    spectrogram: str  # a data URL
    description: str


def frames_of(messages: Iterable[Received]) -> list[Frame]:
    """The frames in order of sample time, each once; what is no frame is passed over."""
    found: dict[tuple[int, int], Frame] = {}
    for message in messages:
        try:
            decoded = decode(message.topic, message.payload)
        except DecodeError:
            continue
        if isinstance(decoded, Frame):
            found.setdefault((decoded.boot_id, decoded.seq), decoded)
    return sorted(found.values(), key=lambda frame: frame.t0_ns)


def make_waveform(messages: Iterable[Received], at_ns: int) -> Waveform | None:
    """None where there is no frame."""
    frames = frames_of(messages)
    if not frames:
        return None
    rate_hz = float(np.median([frame.rate_hz for frame in frames]))
    blocks = [_block(frame, at_ns) for frame in frames]
    samples = np.concatenate(blocks)
    if len(samples) > SAMPLES_MAX:
        middle = int(np.searchsorted(samples[:, 0], 0.0))
        start = max(0, min(middle - SAMPLES_MAX // 2, len(samples) - SAMPLES_MAX))
        samples = samples[start : start + SAMPLES_MAX]
    from_s, to_s = float(samples[0, 0]), float(samples[-1, 0])
    top_hz = min(TOP_HZ, rate_hz / 2)
    return Waveform(
        rows=tuple(_rows(samples, rate_hz)),
        from_s=from_s,
        to_s=to_s,
        rate_hz=rate_hz,
        top_hz=top_hz,
        spectrogram=_spectrogram(samples, rate_hz, top_hz),
        description=(
            f"Raw acceleration and motor current at {rate_hz:.0f} Hz from {from_s:.0f} s before to "
            f"{to_s:.0f} s after the alarm, and the spectrum of the acceleration along the stroke."
        ).replace("from -", "from "),
    )


def _block(frame: Frame, at_ns: int) -> Floats:
    lsb = np.array([frame.accel_g_per_lsb] * 3 + [frame.current_a_per_lsb])
    begins_s = (frame.t0_ns - at_ns) / 1e9
    times = begins_s + np.arange(len(frame.samples_lsb)) / frame.rate_hz
    return np.column_stack([times, frame.samples_lsb * lsb])


def _rows(samples: Floats, rate_hz: float) -> Iterable[tuple[float | None, ...]]:
    times = np.round(samples[:, 0], 5).tolist()
    values = np.round(samples[:, 1:], 3).tolist()
    before = times[0]
    for t, row in zip(times, values, strict=True):
        if t - before > PAUSE / rate_hz:
            yield (before, None, None, None, None)
        yield (t, *row)
        before = t


def _spectrogram(samples: Floats, rate_hz: float, top_hz: float) -> str:
    """A picture of the power of z over time and frequency, in a palette that reads in grey too."""
    from matplotlib.image import imsave  # noqa: PLC0415  half a second, only when one is looked at
    from scipy.signal import spectrogram  # noqa: PLC0415

    # On a regular grid; gaps are silent.
    count = max(int((samples[-1, 0] - samples[0, 0]) * rate_hz) + 1, 8)
    regular = np.zeros(count)
    places = np.round((samples[:, 0] - samples[0, 0]) * rate_hz).astype(int)
    regular[np.clip(places, 0, count - 1)] = samples[:, 3] - samples[:, 3].mean()
    width = min(int(SPECTRUM_S * rate_hz), count)
    hz, _, power = spectrogram(regular, rate_hz, nperseg=width, noverlap=width * 3 // 4)
    shown = 10.0 * np.log10(power[hz <= top_hz] + 1e-12)
    strongest = float(shown.max())
    picture = io.BytesIO()
    imsave(
        picture,
        np.flipud(shown),
        vmin=strongest - FLOOR_DB,
        vmax=strongest,
        cmap="cividis",
        format="png",
    )
    return f"data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}"
