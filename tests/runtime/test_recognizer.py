import dataclasses
import multiprocessing
import os
import pickle
import threading

import numpy as np
import pytest
from PIL import Image

from pocketface import (
    Embedder,
    FaceRecognizer,
    ImageError,
    InputError,
    ModelError,
    NoFaceError,
    SeveralFacesError,
    Threshold,
    ThresholdError,
    images,
    similarity,
)
from pocketface.decide import threshold_for
from pocketface.engines.memory import MemoryEngine, MemorySession
from pocketface.engines.protocol import TensorInfo
from pocketface.quality import assess
from pocketface.recognizer import choose


@pytest.fixture(scope="module")
def collins(photos):
    return photos / "eileen-collins.jpg"


@pytest.fixture(scope="module")
def again(photos):
    return photos / "eileen-collins-second-take.jpg"


@pytest.fixture(scope="module")
def hopper(photos):
    return photos / "grace-hopper.jpg"


@pytest.fixture(scope="module")
def group(collins, hopper):
    """Collins, small, in the middle; Hopper, larger, at the left."""
    canvas = Image.new("RGB", (1200, 600), (90, 100, 110))
    canvas.paste(Image.open(hopper), (0, 0))
    canvas.paste(Image.open(collins).crop((100, 0, 350, 300)), (500, 150))
    return canvas


def test_two_photos_in_a_decision_out(recognizer, collins, again, hopper):
    same = recognizer.verify(collins, again)
    other = recognizer.verify(collins, hopper)
    assert same.verified
    assert not other.verified
    assert same.similarity > 0.6 > 0.3 > other.similarity
    assert same.threshold == Threshold(0.4)
    assert not same.threshold.calibrated
    assert same.fmr is None
    assert same.model == recognizer.embedder.card.id
    assert np.isclose(
        same.similarity, similarity(recognizer.embed(collins), recognizer.embed(again)), atol=1e-5
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        same.verified = False


def test_embeddings_are_unit_rows_with_their_norm(recognizer, collins):
    embedding = recognizer.embed(collins)
    assert embedding.shape == (recognizer.dim,)
    assert embedding.dtype == np.float32
    assert np.isclose(np.linalg.norm(embedding), 1, atol=1e-6)
    (face,) = recognizer.analyze(collins)
    assert np.allclose(face.embedding, embedding, atol=1e-5)
    assert face.norm > 1


def test_swapped_channels_lower_the_similarity(recognizer, shared, lfw):
    """Of a photo with itself, clearly; of two photos of one person, on average."""
    lines = [line.split() for line in (lfw / "pairs.txt").read_text().splitlines()[1:]]
    right, wrong, swapped = [], [], []
    for name, first, second in [line for line in lines if len(line) == 3][:40]:
        a, b = (lfw / name / f"{name}_{int(number):04d}.jpg" for number in (first, second))
        probe, array = recognizer.embed(a), images.load(b)
        face = choose(recognizer.detect(b), "central", array.shape)
        rgb, bgr = (
            recognizer.embed_faces(array, face, channel_order=order)[0].embedding for order in ("rgb", "bgr")
        )
        right.append(probe @ rgb)
        wrong.append(probe @ bgr)
        swapped.append(rgb @ bgr)
    assert np.mean(swapped) < 0.98
    assert np.mean(right) > np.mean(wrong)


def test_arrays_are_bgr_like_opencv(recognizer, collins):
    cv2 = pytest.importorskip("cv2")
    assert recognizer.embed(cv2.imread(str(collins))) @ recognizer.embed(collins) > 0.99


def test_policies(recognizer, group, collins, hopper):
    assert recognizer.embed(group) @ recognizer.embed(hopper) > 0.8
    assert recognizer.embed(group, policy="central") @ recognizer.embed(collins) > 0.8
    with pytest.raises(SeveralFacesError, match="2 faces"):
        recognizer.embed(group, policy="single")
    assert recognizer.verify(collins, group, policy="all").verified
    assert recognizer.verify(hopper, group, policy="all").verified
    assert not recognizer.verify(collins, group).verified
    with pytest.raises(InputError, match="analyze"):
        recognizer.embed(group, policy="all")
    with pytest.raises(InputError, match="largest, central, all, single"):
        recognizer.embed(group, policy="biggest")


def test_all_faces_share_the_false_match_rate(recognizer, group, collins, hopper):
    """Ten comparisons match strangers up to ten times as often as one: the threshold makes up for it."""
    one = recognizer.verify(collins, hopper, fmr=1e-3)
    two = recognizer.verify(hopper, group, policy="all", fmr=1e-3)
    assert (one.comparisons, two.comparisons) == (1, 2)
    assert two.threshold.fmr <= one.threshold.fmr / 2
    assert two.threshold.value > one.threshold.value
    assert two.fmr == 2 * two.threshold.fmr <= one.fmr == one.threshold.fmr
    assert recognizer.verify(hopper, group, policy="all").fmr is None  # the fixture has a threshold
    rarest = min(entry.fmr for entry in recognizer.embedder.card.thresholds)
    with pytest.raises(ThresholdError, match="2 comparisons share FMR"):
        recognizer.verify(hopper, group, policy="all", fmr=rarest)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_photos_that_lie_on_their_side_or_head(detector_model, embedder_model, collins, again, turns):
    """Without `rotate` a face upside down is found as well, with wrong landmarks."""
    recognizer = FaceRecognizer(detector_model, embedder_model, rotate=True, threads=1)
    turned = np.ascontiguousarray(np.rot90(images.load(again), turns))
    [face] = recognizer.detect(turned, channel_order="rgb")
    assert face.rotation == -90 * turns % 360
    assert assess(turned, face).problems == ()
    embedding = recognizer.embed(turned, channel_order="rgb")
    assert embedding @ recognizer.embed(again) > 0.97


def test_no_face_is_an_error_that_names_the_picture(recognizer, photos):
    with pytest.raises(NoFaceError, match=r"no-face\.jpg: no face found"):
        recognizer.embed(photos / "no-face.jpg")
    assert recognizer.detect(photos / "no-face.jpg") == []
    assert recognizer.analyze(photos / "no-face.jpg") == []
    with pytest.raises(NoFaceError):
        choose([], "all", (9, 9))


def test_batches_report_bad_items_and_go_on(recognizer, photos, collins, again, hopper, group, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(collins.read_bytes()[:5000])
    items = [collins, broken, photos / "no-face.jpg", again, "missing.jpg", hopper, np.zeros((3, 3)), group]
    seen = []
    result = recognizer.embed_batch(items, progress=lambda done, total: seen.append((done, total)))
    assert result.indices.tolist() == [0, 3, 5, 7]
    assert [error.index for error in result.errors] == [1, 2, 4, 6]
    assert [type(error.error) for error in result.errors] == [ImageError, NoFaceError, ImageError, InputError]
    assert str(broken) in str(result.errors[0].error)
    for row, item in zip(result.embeddings, (collins, again, hopper, group), strict=True):
        assert row @ recognizer.embed(item) > 0.9999
    assert seen[-1] == (8, 8)
    everyone = recognizer.embed_batch((item for item in items), policy="all")
    assert everyone.indices.tolist() == [0, 3, 5, 7, 7]
    assert len(everyone.faces) == len(everyone.embeddings) == 5


def test_an_empty_batch(recognizer):
    result = recognizer.embed_batch([])
    assert result.embeddings.shape == (0, recognizer.dim)
    assert result.errors == ()


def test_aligned_crops(recognizer, collins, detector_model, embedder_model):
    from pocketface.align import align

    picture = images.load(collins)
    crop = align(picture, recognizer.detect(collins)[0].landmarks)
    assert recognizer.embed_aligned(crop[None, :, :, ::-1])[0] @ recognizer.embed(collins) > 0.9999
    rgb = FaceRecognizer(detector_model, embedder_model, channel_order="rgb", threads=1)
    assert rgb.embed_aligned(crop[None])[0] @ recognizer.embed(collins) > 0.9999
    for wrong in (crop, crop[None].astype(np.float32), crop[None, :100], [crop]):
        with pytest.raises(InputError, match="expected uint8"):
            recognizer.embed_aligned(wrong)


def test_faces_found_before_are_embedded_alone(recognizer, group):
    faces = recognizer.detect(group)
    described = recognizer.embed_faces(group, faces[1:])
    assert len(described) == 1
    assert described[0].embedding @ recognizer.analyze(group)[1].embedding > 0.9999


def test_mirror_averaging(detector_model, embedder_model, recognizer, collins):
    both = FaceRecognizer(detector_model, embedder_model, mirror=True, threads=1)
    mirrored = Image.open(collins).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert 0.9 < both.embed(collins) @ recognizer.embed(collins) < 1
    assert both.embed(collins) @ both.embed(mirrored) > recognizer.embed(collins) @ recognizer.embed(mirrored)


def test_coordinates_are_in_pixels_of_the_file(recognizer, hopper, encode, detector_model, embedder_model):
    data = encode(Image.open(hopper), "JPEG", quality=92)
    (face,) = recognizer.analyze(data)
    limited = FaceRecognizer(detector_model, embedder_model, max_pixels=200_000, threads=1)
    (reduced,) = limited.analyze(data)
    assert np.abs(reduced.landmarks - face.landmarks).max() < 22
    assert np.abs(reduced.bbox - face.bbox).max() < 25
    assert limited.embed_faces(data, [face])[0].embedding @ face.embedding > 0.9


@pytest.fixture(scope="module")
def calibrated(embedder_model):
    """The embedder's card with thresholds of its own."""
    rows = tuple(
        Threshold(value, fmr, fmr * 1.2, "a thousand people", 1_000_000, 0.1)
        for fmr, value in ((1e-2, 0.2), (1e-3, 0.3), (1e-4, 0.4), (1e-7, 0.9))
    )
    return dataclasses.replace(embedder_model.card, thresholds=rows)


def test_thresholds_come_from_the_card(calibrated):
    assert threshold_for(calibrated, 1e-3).value == 0.3
    assert threshold_for(calibrated, 0.005).value == 0.3  # not measured: the next stricter one
    assert threshold_for(calibrated, 1e-4).calibrated
    with pytest.raises(ThresholdError, match=r"1,000,000 impostor pairs .* support 0.0001 and above"):
        threshold_for(calibrated, 1e-5)
    for wrong in (0, 1, -1, 2, float("nan")):
        with pytest.raises(InputError):
            threshold_for(calibrated, wrong)


def test_lfw_supports_nothing_below_one_in_a_thousand(calibrated):
    rows = tuple(Threshold(0.3, fmr, None, "LFW", 3000) for fmr in (1e-2, 1e-3, 5e-4))
    card = dataclasses.replace(calibrated, thresholds=rows)
    assert threshold_for(card, 1e-3).fmr == 1e-3
    with pytest.raises(ThresholdError, match="3,000 impostor pairs"):
        threshold_for(card, 5e-4)


def test_a_calibrated_decision_says_what_supports_it(
    detector_model, embedder_model, calibrated, collins, again
):
    model = dataclasses.replace(embedder_model, card=calibrated)
    recognizer = FaceRecognizer(detector_model, model, threads=1)
    result = recognizer.verify(collins, again, fmr=1e-4)
    assert (result.threshold.value, result.fmr, result.threshold.impostor_pairs) == (0.4, 1e-4, 1_000_000)
    assert recognizer.verify(collins, again).fmr == 1e-3
    with pytest.raises(InputError, match="not both"):
        recognizer.verify(collins, again, fmr=1e-3, threshold=0.3)


def test_an_uncalibrated_model_needs_a_threshold(detector_model, embedder_model, collins, again):
    bare = dataclasses.replace(embedder_model, card=dataclasses.replace(embedder_model.card, thresholds=()))
    recognizer = FaceRecognizer(detector_model, bare, threads=1)
    with pytest.raises(ThresholdError, match="uncalibrated"):
        recognizer.verify(collins, again)
    assert not recognizer.verify(collins, again, threshold=0.3).threshold.calibrated


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_zero_or_infinite_embedding_is_an_error(embedder_model, value):
    card = embedder_model.card
    session = MemorySession(
        lambda feeds: {card.output.name: np.full((1, card.output.dim), value, np.float32)},
        [TensorInfo(card.input.name, (1, None, None, None), "float32")],
        [TensorInfo(card.output.name, (1, card.output.dim), "float32")],
    )
    embedder = Embedder(embedder_model, engine=MemoryEngine(session))
    with pytest.raises(ModelError, match="zero or not finite"):
        embedder.embed(np.zeros((1, 112, 112, 3), np.uint8))


def test_similarity_of_nonsense_is_an_error():
    assert similarity([3, 0], [0.5, 0]) == 1.0
    for a, b in (([0, 0], [1, 0]), ([1, np.nan], [1, 0]), ([1, 0, 0], [1, 0]), ([[1, 0]], [[1, 0]])):
        with pytest.raises(InputError):
            similarity(a, b)


def test_wrong_arguments(detector_model, embedder_model):
    for options in (
        {"policy": "x"},
        {"channel_order": "x"},
        {"threads": 0},
        {"threads": 100_000},
        {"threshold": 2.0},
        {"min_face": 2},
    ):
        with pytest.raises(InputError):
            FaceRecognizer(detector_model, embedder_model, **options)
    with pytest.raises(ModelError, match="not a detector"):
        FaceRecognizer(embedder_model, embedder_model)
    with pytest.raises(ModelError, match="not an embedder"):
        FaceRecognizer(detector_model, detector_model)
    with pytest.raises(ModelError, match="no model 'nobody'"):
        FaceRecognizer("nobody", embedder_model)


def test_many_threads_share_one_recogniser(detector_model, embedder_model, collins, hopper):
    recognizer = FaceRecognizer(detector_model, embedder_model, threads=1)
    expected = {
        path: FaceRecognizer(detector_model, embedder_model, threads=1).embed(path)
        for path in (collins, hopper)
    }
    failures = []

    def work(path):
        for _ in range(3):
            if recognizer.embed(path) @ expected[path] < 0.9999:
                failures.append(path)

    threads = [threading.Thread(target=work, args=(path,)) for path in (collins, hopper) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_pickling(recognizer, collins):
    recognizer.embed(collins)
    copy = pickle.loads(pickle.dumps(recognizer))
    assert len(pickle.dumps(recognizer)) < 20_000
    assert copy.embed(collins) @ recognizer.embed(collins) > 0.9999


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_makes_its_own_sessions(detector_model, embedder_model, collins):
    recognizer = FaceRecognizer(detector_model, embedder_model, threads=2)
    expected = recognizer.embed(collins)
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if recognizer.embed(collins) @ expected > 0.9999 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_spawned_process_gets_a_working_copy(recognizer, collins):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        embedding = pool.apply(recognizer.embed, (str(collins),))
    assert embedding @ recognizer.embed(collins) > 0.9999


def test_a_gallery_is_opened_for_this_recogniser(recognizer, collins, tmp_path):
    with recognizer.gallery(tmp_path / "people.db", threshold=0.4) as gallery:
        gallery.enroll("eileen", collins)
        assert gallery.identify(collins)[0].person == "eileen"
