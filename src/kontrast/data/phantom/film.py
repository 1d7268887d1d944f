"""From layers to a radiograph: attenuation, scatter, blur, photon noise, display.

Beer and Lambert: a ray's signal is exp(-Σ μ·t) over the materials it passes. The effective attenuation coefficients
are those of a 100 to 120 kV beam hardened by the patient, per cm: soft tissue 0.20, bone 0.48 (ICRU 44 tables at
about 60 keV), gas 0.
"""

import cv2
import numpy as np

from kontrast.data.phantom.anatomy import Anatomy, Pose
from kontrast.data.phantom.canvas import HALF_VIEW, Array, Canvas
from kontrast.data.phantom.layers import Layers

MU_TISSUE, MU_BONE = 0.20, 0.48


def attenuation(layers: Layers, anatomy: Anatomy, pose: Pose) -> Array:
    """The line integral Σ μ·t of every ray in the patient's frame, in nepers."""
    canvas = layers.canvas
    rng = np.random.default_rng(anatomy.seed + 4)
    # The lung's own tissue: alveoli and small vessels below the resolution, as a fine and a coarse texture.
    gas: Array = canvas.texture(rng, 0.6, coarse=4.0)
    gas *= np.float32(-0.045 * anatomy.parenchyma)
    gas += np.float32(1 - anatomy.parenchyma)
    if layers.dense is not canvas.nothing:
        gas *= 1 - layers.dense
    open_share = layers.empty
    if open_share is not canvas.nothing:
        gas += open_share * (1 - gas)
        layers.vessels = layers.vessels * np.maximum(1 - 2 * open_share, 0)
    # Gas takes the place of tissue; the rest of the body is slightly lumpy (muscle, fat).
    soft = canvas.texture(rng, 2.5)
    soft *= np.float32(0.02)
    soft += 1
    soft *= layers.body - layers.air - layers.airways
    soft += layers.air * (1 - gas)
    soft += layers.vessels * (1 - layers.dense)
    if layers.extra is not canvas.nothing:
        soft += layers.extra
    soft = np.maximum(soft, 0)
    soft *= np.float32(MU_TISSUE)
    soft += np.float32(MU_BONE - MU_TISSUE) * layers.bone
    if layers.metal is not canvas.nothing:
        soft += layers.metal
    return soft


def pose_matrix(canvas: Canvas, pose: Pose, size: int) -> Array:
    """The affine map (2, 3) from the board's pixels to the image's."""
    half = HALF_VIEW / pose.zoom
    scale = size / (2 * half) / canvas.per_cm
    centre = canvas.n / 2 - 0.5
    matrix: Array = cv2.getRotationMatrix2D((centre, centre), pose.tilt, scale)
    shift = np.array(pose.shift) * canvas.per_cm * scale
    matrix[:, 2] += size / 2 - 0.5 - centre + shift
    return matrix


def expose(integral: Array, canvas: Canvas, pose: Pose, size: int) -> Array:
    """The detector's signal behind the posed patient: -log of the noisy intensity, (size, size) float32."""
    posed = cv2.warpAffine(
        integral, pose_matrix(canvas, pose, size), (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    pixel = 2 * HALF_VIEW / size / pose.zoom
    sigma = pose.blur / pixel
    if sigma > 0.25:
        posed = cv2.GaussianBlur(posed, (0, 0), sigma)
    signal = cv2.exp(-posed)
    small = cv2.resize(signal, (64, 64), interpolation=cv2.INTER_AREA)
    # Inside the patient scatter varies slowly; the bright air around must not flood it, so its light is capped.
    haze = cv2.GaussianBlur(np.minimum(small, 0.25), (0, 0), 6.0)
    signal = signal + np.float32(pose.scatter) * cv2.resize(haze, (size, size), interpolation=cv2.INTER_LINEAR)
    rng = np.random.default_rng(pose.seed)
    # Light spreads in the scintillator, so neighbours share part of their noise; the sum of many uniform numbers that
    # this makes is close to normal, and uniform ones are five times quicker to draw.
    grain = rng.random((size, size), dtype=np.float32)
    grain -= np.float32(0.5)
    grain = np.float32(2.6) * grain + np.float32(2.8) * cv2.GaussianBlur(grain, (0, 0), 0.8)
    # Quanta per pixel fall with the pixel's area.
    quanta = np.float32(pose.dose * 1000 * (256 / size) ** 2)
    signal = np.maximum(signal + cv2.sqrt(signal / quanta) * grain, 2e-4)
    return -cv2.log(signal)


_GREYS = 4096


def display(signal: Array, pose: Pose) -> Array:
    """Window, detail enhancement and tone curve: float32 in [0, 1], bone bright."""
    size = signal.shape[0]
    edge = size // 10
    probe = signal[edge:-edge:4, edge:-edge:4]
    # Black and white are set within the body, as exposure control does: the air around it stays black.
    low, high = np.percentile(probe[probe > 1.1], [4, pose.high])
    low -= pose.low * (high - low)
    small = cv2.resize(signal, (size // 4, size // 4), interpolation=cv2.INTER_AREA)
    smoothed = cv2.resize(cv2.GaussianBlur(small, (0, 0), size / 160), (size, size), interpolation=cv2.INTER_LINEAR)
    strength = 0.5 * pose.sharpness
    scale = (_GREYS - 1) / max(high - low, 1e-3) / 1.25
    shown = cv2.addWeighted(signal, (1 + strength) * scale, smoothed, -strength * scale, -low * scale)
    grey = np.clip(shown, 0, _GREYS - 1).astype(np.uint16)
    return _tones(grey, pose)[grey]


def _tones(grey: Array, pose: Pose) -> Array:
    """The display curve as a table (4096,): a shoulder that keeps detail in the mediastinum, gamma, equalisation.

    The equalisation is limited (no grey may count for more than 1/40 of the image) and mixed in by `pose.equalise`.
    """
    level = np.linspace(0, 1, _GREYS)
    curve = (level * (1.8 - 0.8 * level)) ** pose.gamma
    bins = np.bincount((grey[::2, ::2] >> 4).ravel(), minlength=_GREYS // 16).astype(np.float64)
    share = np.cumsum(np.minimum(bins, bins.sum() / 40))
    share = (share - share[0]) / max(share[-1] - share[0], 1)
    equal = np.interp(level, np.linspace(0, 1, len(share)), share)
    return ((1 - pose.equalise) * curve + pose.equalise * equal).astype(np.float32)


def finish(shown: Array, pose: Pose) -> Array:
    """Collimation and the letters on the film; still float32 in [0, 1]."""
    size = shown.shape[0]
    per_cm = size / (2 * HALF_VIEW)
    left, right, top, bottom = (round(m * per_cm) for m in pose.collimation)
    out = shown.copy()
    out[:top] = 0.0
    out[size - bottom :] = 0.0 if bottom else out[size - bottom :]
    out[:, :left] = 0.0
    out[:, size - right :] = 0.0 if right else out[:, size - right :]
    if pose.marker:
        _letters(out, pose)
    return out


def _letters(out: Array, pose: Pose) -> None:
    size = out.shape[0]
    board = np.zeros(out.shape, np.uint8)
    scale, thick = size / 256 * 0.42, max(1, round(size / 256))
    side = pose.marker % 2
    text = ("L" if side else "R") if pose.view != "lateral" else "L"
    x = int(size * (0.9 if side else 0.06))
    y = int(size * (0.08 + 0.05 * (pose.marker // 2)))
    cv2.putText(board, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thick, cv2.LINE_AA)
    if pose.marker >= 4:
        below = (x, y + size // 16)
        cv2.putText(board, "07", below, cv2.FONT_HERSHEY_SIMPLEX, 0.7 * scale, 230, thick, cv2.LINE_AA)
    np.maximum(out, board.astype(np.float32) * np.float32(1 / 255), out=out)
