"""A recording of one gun as waveforms and a spectrogram, in seconds from a moment. Pure.

May import `wire` and `model`, numpy and Pillow, which makes the spectrogram's picture.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image

from pipeline.model import Frame, Received
from pipeline.page.alarm_lines import NS_PER_S
from pipeline.wire import DecodeError, decode

Floats: TypeAlias = NDArray[np.float64]

# 30 s at 1600 Hz are 48,000 samples; at 6400 Hz every sample would be four times that, and a page
# of 7 MB. Beyond it the middle is shown. Engineering choice.
SAMPLES_MAX: Final = 100_000
# Half a second resolves 2 Hz: f0, f0/2 and the harmonics of a 20 Hz gun stand apart.
SPECTRUM_S: Final = 0.5
TOP_HZ: Final = 400.0  # ten harmonics of 40 Hz; above it little is said. Engineering choice
FLOOR_DB: Final = 60.0  # below the strongest, the darkest colour. Engineering choice
# Dark to light, as cividis: the order is seen with any colour vision, and in grey.
COLOURS: Final = ((0, 32, 76), (64, 77, 107), (124, 123, 120), (187, 174, 108), (255, 233, 69))
# A chart gives a picture a place, and SVG keeps a picture's proportions unless told otherwise.
_STRETCHED: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="100%" height="100%">'
    '<image width="100%" height="100%" preserveAspectRatio="none" href="{}"/></svg>'
)
PAUSE: Final = 1.5  # sample intervals; more between two frames is a gap, and drawn as one
# Of a session's chart, which no screen shows at once: two to each of the pixels of a large one.
POINTS_MAX: Final = 4_000


@dataclass(frozen=True, slots=True, eq=False)
class Waveform:
    """`samples` is float32 of shape (n, 5): seconds from the moment, x, y, z [g], current [A].

    A row that is not a number breaks the line where frames are missing.
    """

    samples: NDArray[np.float32]
    rate_hz: float
    top_hz: float
    spectrogram: str  # a data URL

    @property
    def from_s(self) -> float:
        return float(self.samples[0, 0])

    @property
    def to_s(self) -> float:
        return float(self.samples[-1, 0])

    @property
    def description(self) -> str:
        return (
            f"Raw acceleration and motor current at {self.rate_hz:.0f} Hz from {-self.from_s:.0f} s"
            f" before to {self.to_s:.0f} s after the alarm, and the spectrum of the acceleration"
            " along the stroke."
        )


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
    samples = _around(np.concatenate([_block(frame, at_ns) for frame in frames]))
    top_hz = min(TOP_HZ, rate_hz / 2)
    return Waveform(
        samples=_with_breaks(samples, rate_hz).astype(np.float32),
        rate_hz=rate_hz,
        top_hz=top_hz,
        spectrogram=_spectrogram(samples, rate_hz, top_hz),
    )


def make_stretch(
    messages: Iterable[Received], from_ns: int, to_ns: int
) -> NDArray[np.float32] | None:
    """What lies between two moments: seconds from the first, z [g], current [A], in rows.

    Every sample up to POINTS_MAX of them; of more, the extremes of each of so many pieces of time.
    None where there is no sample.
    """
    frames = [each for each in frames_of(messages) if from_ns - NS_PER_S <= each.t0_ns < to_ns]
    if not frames:
        return None
    samples = np.concatenate([_block(frame, from_ns) for frame in frames])[:, [0, 3, 4]]
    length_s = (to_ns - from_ns) / NS_PER_S
    samples = samples[(samples[:, 0] >= 0.0) & (samples[:, 0] < length_s)]
    if not len(samples):
        return None
    rate_hz = float(np.median([frame.rate_hz for frame in frames]))
    if len(samples) > POINTS_MAX:
        samples, rate_hz = _extremes(samples, length_s), POINTS_MAX / 2 / length_s
    return _with_breaks(samples, rate_hz).astype(np.float32)


def _extremes(samples: Floats, length_s: float) -> Floats:
    """Two rows for each piece of time that has samples: the smallest values, then the largest."""
    pieces = (samples[:, 0] * (POINTS_MAX / 2 / length_s)).astype(np.int64)
    starts = np.flatnonzero(np.diff(pieces, prepend=-1))
    found = np.empty((len(starts), 2, samples.shape[1]))
    found[:, 0] = np.minimum.reduceat(samples, starts)
    found[:, 1] = np.maximum.reduceat(samples, starts)
    return found.reshape(-1, samples.shape[1])


def _around(samples: Floats) -> Floats:
    """SAMPLES_MAX of them, with the moment in the middle."""
    middle = int(np.searchsorted(samples[:, 0], 0.0))
    start = max(0, min(middle - SAMPLES_MAX // 2, len(samples) - SAMPLES_MAX))
    return samples[start : start + SAMPLES_MAX]


def _block(frame: Frame, at_ns: int) -> Floats:
    lsb = np.array([frame.accel_g_per_lsb] * 3 + [frame.current_a_per_lsb])
    begins_s = (frame.t0_ns - at_ns) / NS_PER_S
    times = begins_s + np.arange(len(frame.samples_lsb)) / frame.rate_hz
    return np.column_stack([times, frame.samples_lsb * lsb])


def _with_breaks(samples: Floats, rate_hz: float) -> Floats:
    gaps = np.flatnonzero(np.diff(samples[:, 0]) > PAUSE / rate_hz) + 1
    breaks = np.full((len(gaps), samples.shape[1]), np.nan)
    breaks[:, 0] = samples[gaps - 1, 0]
    return np.insert(samples, gaps, breaks, axis=0)


def _spectrogram(samples: Floats, rate_hz: float, top_hz: float) -> str:
    """A picture of the power of z over time and frequency."""
    # On a regular grid; gaps are silent.
    count = max(int((samples[-1, 0] - samples[0, 0]) * rate_hz) + 1, 8)
    regular = np.zeros(count)
    places = np.round((samples[:, 0] - samples[0, 0]) * rate_hz).astype(int)
    regular[np.clip(places, 0, count - 1)] = samples[:, 3] - samples[:, 3].mean()
    width = min(int(SPECTRUM_S * rate_hz), count)
    pieces = sliding_window_view(regular, width)[:: max(width // 4, 1)] * np.hanning(width)
    power = np.abs(np.fft.rfft(pieces, axis=1)) ** 2
    shown_db = 10.0 * np.log10(power[:, : int(top_hz * width / rate_hz) + 1].T + 1e-12)
    share = np.clip((shown_db - shown_db.max()) / FLOOR_DB + 1.0, 0.0, 1.0)
    return _picture(np.flipud(share))


def _picture(share: Floats) -> str:
    """0 to 1 as a picture that fills its place, coloured as COLOURS say."""
    places = np.linspace(0.0, 1.0, len(COLOURS))
    rgb = [np.interp(share, places, channel) for channel in np.array(COLOURS, float).T]
    buffer = io.BytesIO()
    Image.fromarray(np.stack(rgb, axis=-1).astype(np.uint8)).save(buffer, "PNG")
    png = base64.b64encode(buffer.getvalue()).decode()
    svg = _STRETCHED.format(f"data:image/png;base64,{png}")
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
