import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pocketface import InputError, align


def turned(angle, scale, shift):
    """The template turned, scaled and moved."""
    a = scale * np.exp(1j * angle)
    z = (align.TEMPLATE[:, 0] + 1j * align.TEMPLATE[:, 1]) * a + complex(*shift)
    return np.column_stack([z.real, z.imag])


@given(
    st.floats(-np.pi, np.pi),
    st.floats(0.05, 20),
    st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=50, deadline=None)
def test_estimate_agrees_with_scikit_image(angle, scale, shift, seed):
    transform = pytest.importorskip("skimage.transform")
    points = turned(angle, scale, shift) + np.random.default_rng(seed).normal(0, scale * 2, (5, 2))
    expected = transform.SimilarityTransform.from_estimate(points, align.TEMPLATE).params[:2]
    assert np.allclose(align.estimate(points), expected, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("angle", [0.0, 0.3, -2.0])
@pytest.mark.parametrize("scale", [0.4, 0.8, 1.1])
def test_warp_agrees_with_opencv(angle, scale):
    cv2 = pytest.importorskip("cv2")
    y, x = np.mgrid[0:200, 0:240]
    image = np.stack([x, y, 128 + 60 * np.sin(x / 9) * np.cos(y / 7)], axis=2).astype(np.uint8)
    landmarks = turned(angle, scale, (0, 0))
    landmarks += (120, 100) - landmarks.mean(axis=0)
    expected = cv2.warpAffine(image, align.estimate(landmarks), (112, 112), flags=cv2.INTER_LINEAR).astype(
        int
    )
    crop = align.align(image, landmarks)
    # Borders differ: OpenCV blends them with black. OpenCV's coordinates are rounded to 1/32 of a pixel.
    inside = cv2.erode((expected.sum(axis=2) > 0).astype(np.uint8), np.ones((5, 5))) > 0
    assert inside.mean() > 0.4
    assert np.abs(crop.astype(int) - expected)[inside].max() <= 4
    assert np.abs(crop.astype(int) - expected)[inside].mean() < 0.7


@pytest.mark.parametrize("scale", [1.9, 3.3, 6.0])
def test_large_faces_are_averaged(scale):
    cv2 = pytest.importorskip("cv2")
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    landmarks = turned(0.2, scale, (200, 50))
    crop = align.align(noise, landmarks)[20:90, 20:90]
    sampled = cv2.warpAffine(noise, align.estimate(landmarks), (112, 112))[20:90, 20:90]
    # Sampling keeps most of the noise's deviation, averaging over s x s pixels divides it by about s.
    assert crop.std() < 1.3 * noise.std() / scale
    assert sampled.std() > 0.5 * noise.std()


def test_a_large_face_gives_the_embedding_of_its_small_version(recognizer, portraits):
    for path in portraits[:6]:
        face = max(recognizer.detect(path), key=lambda face: face.area)
        crops = []
        for height in (1000, 200):
            side = round(1024 * height / face.height)
            resized = Image.open(path).resize((side, side), Image.Resampling.LANCZOS)
            crops.append(align.align(np.asarray(resized), (face.landmarks + 0.5) * side / 1024 - 0.5))
        large, small = recognizer.embedder.embed(np.stack(crops))[0]
        assert large @ small >= 0.99, path.name


def test_outside_the_picture_is_black():
    white = np.full((50, 50, 3), 255, np.uint8)
    crop = align.align(white, turned(0.0, 1.0, (-30, -30)))
    assert (crop[81:, 81:] == 0).all()
    assert (crop[35:70, 35:70] == 255).all()
    assert not align.align(white, turned(0.0, 1.0, (5000, 0))).any()


@pytest.mark.parametrize(
    ("landmarks", "words"),
    [
        (np.zeros((4, 2)), "expected"),
        (np.full((5, 2), np.nan), "finite"),
        (np.ones((5, 2)), "coincide"),
    ],
)
def test_impossible_landmarks(landmarks, words):
    with pytest.raises(InputError, match=words):
        align.align(np.zeros((9, 9, 3), np.uint8), landmarks)
