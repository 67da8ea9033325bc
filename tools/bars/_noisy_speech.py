"""Spoken words with the background of `_silence_` clips added, as log-mel codes: u8 (N, 49, 40, 1).

A code u of the data set stands for the energy 10^((u / 2.2 - 80) / 10) of a band. Energies of
speech and noise are added; that leaves out the product of the two, which is 0 in the mean.
`apart` measures how far this is from codes of added waveforms, on the clips that are there as such.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from spikelet.graph import Array

RATE, BANDS, FRAMES = 16000, 40, 49
HOP, WINDOW, FFT = 320, 480, 512
LOWEST, HIGHEST = 125.0, 7500.0  # Hz
STEPS, FLOOR = 2.2, 80.0  # codes a decibel; decibels of code 0, below 1


def energies(codes: Array) -> Array:
    """Of each band, relative to full scale; any shape."""
    made: Array = 10 ** ((codes.astype(np.float64) / STEPS - FLOOR) / 10)
    return made


def encode(energy: Array) -> Array:
    """Codes u8 of energies."""
    codes = np.rint((10 * np.log10(energy + 1e-8) + FLOOR) * STEPS)
    clipped: Array = np.clip(codes, 0, 255).astype(np.uint8)
    return clipped


def factors(speech: Array, noise: Array, decibels: float) -> Array:
    """(N,) what noise (N, ...) is multiplied by, in energy, to lie so far below speech."""
    axes = tuple(range(1, speech.ndim))
    ratio = speech.sum(axes) / noise.sum(axes)
    made: Array = ratio * 10 ** (-decibels / 10)
    return made


def noisy(x: Array, clips: Array, decibels: float, seed: int) -> Array:
    """Codes (N, ...) with a drawn one of `clips` (M, ...) added to each."""
    chosen = np.random.default_rng(seed).integers(0, len(clips), len(x))
    speech, noise = energies(x), energies(clips[chosen])
    by = factors(speech, noise, decibels).reshape(-1, *(1,) * (x.ndim - 1))
    return encode(speech + by * noise)


def mel(audio: Array) -> Array:
    """(N, 49, 40) energies of waveforms (N, 16000) within +-1, as the codes stand for."""
    edges = 700 * (10 ** (np.linspace(_mel(LOWEST), _mel(HIGHEST), BANDS + 2) / 2595) - 1)
    hertz = np.arange(FFT // 2 + 1) * RATE / FFT
    up = (hertz - edges[:-2, None]) / np.diff(edges)[:-1, None]
    down = (edges[2:, None] - hertz) / np.diff(edges)[1:, None]
    bands = np.clip(np.minimum(up, down), 0, None)
    starts = HOP * np.arange(FRAMES)
    frames = np.stack([audio[:, at : at + WINDOW] for at in starts], axis=1) * np.hanning(WINDOW)
    made: Array = np.abs(np.fft.rfft(frames, FFT)) ** 2 @ bands.T
    return made


def _mel(hertz: float) -> float:
    return float(2595 * np.log10(1 + hertz / 700))


def apart(decibels: float) -> dict[str, float]:
    """Mean distances in decibels, on the clips that there are waveforms of.

    Of `front`: this module's codes of a clip from the data set's; `mixed`: codes of added energies
    from codes of added waveforms, of words with background clips.
    """
    folder = Path(os.environ["SPIKELET_DATA"]) / "speech_commands_v2_test"
    with np.load(folder / "audio_subset_i16.npz") as held:
        audio, label = held["audio"] / 32768.0, held["label"]
        name, quiet = held["name"], list(held["classes"]).index("_silence_")
    with np.load(folder / "logmel_u8.npz") as held:
        rows = {text: row for row, text in enumerate(held["name"])}
        codes = held["x"][[rows[text] for text in name]]
    front = np.abs(encode(mel(audio)) - codes.astype(int)).mean() / STEPS
    words, clips = np.flatnonzero(label != quiet), np.flatnonzero(label == quiet)
    chosen = np.random.default_rng(0).choice(clips, len(words))
    speech, noise = mel(audio[words]), mel(audio[chosen])
    by = factors(speech, noise, decibels)
    added = encode(speech + by[:, None, None] * noise)
    waves = encode(mel(audio[words] + np.sqrt(by)[:, None] * audio[chosen]))
    mixed = np.abs(added - waves.astype(int))
    return {
        "front": float(front),
        "mixed": float(mixed.mean() / STEPS),
        "bias": float((added - waves.astype(int)).mean() / STEPS),
    }
