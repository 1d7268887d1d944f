"""From layers to a radiograph: attenuation, scatter, blur, photon noise, display.

Beer and Lambert: a ray's signal is exp(-Σ μ·t) over the materials it passes. The effective attenuation coefficients
are those of a 100 to 120 kV beam hardened by the patient, per cm: soft tissue 0.20, bone 0.48 (ICRU 44 tables at
about 60 keV), gas 0.
"""

import cv2
import numpy as np

from kontrast.data.phantom.anatomy import Anatomy, Pose
from kontrast.data.phantom.canvas import Array, Canvas
from kontrast.data.phantom.layers import Layers

MU_TISSUE, MU_BONE = 0.20, 0.48


def attenuation(layers: Layers, anatomy: Anatomy, pose: Pose) -> Array:
    """The line integral Σ μ·t of every ray in the patient's frame, in nepers."""
    canvas = layers.canvas
    rng = np.random.default_rng(anatomy.seed + 4)
    fine = 0.6 * canvas.texture(rng, 0.45) + 0.6 * canvas.texture(rng, 1.1) + 0.8 * canvas.texture(rng, 4.0)
    tissue = np.float32(anatomy.parenchyma) * (1 + np.float32(0.05) * fine)
    filled = 1 - layers.empty
    density = (tissue + (1 - tissue) * layers.dense) * filled
    vessels = layers.vessels * np.maximum(1 - 2 * layers.empty, 0) * (1 - layers.dense)
    clumps = 1 + 0.02 * canvas.texture(rng, 2.5)
    soft = (layers.body - layers.air - layers.airways) * clumps + layers.air * density + vessels + layers.extra
    out = MU_TISSUE * np.maximum(soft, 0) + (MU_BONE - MU_TISSUE) * layers.bone + layers.metal
    return out.astype(np.float32)


def pose_matrix(canvas: Canvas, pose: Pose, size: int) -> Array:
    """The affine map (2, 3) from the board's pixels to the image's."""
    half = 18.6 / pose.zoom
    scale = size / (2 * half) / canvas.per_cm
    centre = canvas.n / 2 - 0.5
    matrix = cv2.getRotationMatrix2D((centre, centre), pose.tilt, scale)
    shift = np.array(pose.shift) * canvas.per_cm * scale
    matrix[:, 2] += size / 2 - 0.5 - centre + shift
    return matrix


def expose(integral: Array, canvas: Canvas, pose: Pose, size: int) -> Array:
    """The detector's signal behind the posed patient: -log of the noisy intensity, (size, size) float32."""
    posed = cv2.warpAffine(
        integral, pose_matrix(canvas, pose, size), (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    pixel = 37.0 / size / pose.zoom
    sigma = pose.blur / pixel
    if sigma > 0.25:
        posed = cv2.GaussianBlur(posed, (0, 0), sigma)
    signal = cv2.exp(-posed)
    small = cv2.resize(signal, (64, 64), interpolation=cv2.INTER_AREA)
    # Inside the patient scatter varies slowly; the bright air around must not flood it, so its light is capped.
    haze = cv2.GaussianBlur(np.minimum(small, 0.25), (0, 0), 6.0)
    signal = signal + np.float32(pose.scatter) * cv2.resize(haze, (size, size), interpolation=cv2.INTER_LINEAR)
    rng = np.random.default_rng(pose.seed)
    grain = rng.standard_normal((size, size), dtype=np.float32)
    grain = 0.75 * grain + 0.8 * cv2.GaussianBlur(grain, (0, 0), 0.8)  # light spreads in the scintillator
    # Quanta per pixel fall with the pixel's area.
    quanta = np.float32(pose.dose * 1000 * (256 / size) ** 2)
    signal = np.maximum(signal + cv2.sqrt(signal / quanta) * grain, 2e-4)
    return -cv2.log(signal)


def display(signal: Array, pose: Pose) -> Array:
    """Window, detail enhancement and curve: float32 in [0, 1], bone bright."""
    size = signal.shape[0]
    edge = size // 10
    probe = signal[edge:-edge:4, edge:-edge:4]
    # Black and white are set within the body, as exposure control does: the air around it stays black.
    low, high = np.percentile(probe[probe > 1.1], [4, pose.high])
    low -= pose.low * (high - low)
    detail = signal - cv2.GaussianBlur(signal, (0, 0), size / 40)
    shown = (signal + np.float32(0.5 * pose.sharpness) * detail - np.float32(low)) / np.float32(max(high - low, 1e-3))
    # The shoulder of the curve keeps detail in the mediastinum; the toe keeps air black.
    shown = np.clip(shown, 0, 1.25)
    shown = shown * (1.8 - 0.8 * shown / 1.25) / 1.25
    shown = np.clip(shown, 0, 1) ** np.float32(pose.gamma)
    if pose.equalise > 0.02:
        shown = _equalise(shown, pose.equalise)
    return shown


def _equalise(shown: Array, share: float) -> Array:
    bins = np.bincount((shown[::2, ::2] * 255).astype(np.uint8).ravel(), minlength=256).astype(np.float64)
    level = np.cumsum(np.minimum(bins, bins.sum() / 40))
    level = (level - level[0]) / max(level[-1] - level[0], 1)
    grid = np.linspace(0, 1, 256)
    curve = ((1 - share) * grid + share * level).astype(np.float32)
    position = shown * 255
    floor = np.minimum(position.astype(np.int32), 254)
    return curve[floor] + (position - floor) * (curve[floor + 1] - curve[floor])


def finish(shown: Array, pose: Pose) -> Array:
    """Collimation and the letters on the film; still float32 in [0, 1]."""
    size = shown.shape[0]
    per_cm = size / 37.0
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
