from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pocketface import FaceDetector, InputError, ModelError, decoders, detect, images, registry
from pocketface.recognizer import choose


def iou(a, b):
    corner, far = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = np.clip(far - corner, 0, None).prod()
    return shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared)


def test_yunet_agrees_with_opencv_on_lfw(shared, lfw, monkeypatch):
    cv2 = pytest.importorskip("cv2")
    monkeypatch.setattr(detect, "_MAX_LOOKS", 0)  # OpenCV looks at a picture once
    path = shared / "models" / "yunet_n_dynamic.onnx"
    ours = FaceDetector(registry.find(path), threads=1, score_threshold=0.7)
    theirs = cv2.FaceDetectorYN.create(str(path), "", (250, 250), 0.7, 0.4, 5000)
    compared = 0
    for photo in sorted(lfw.glob("*/*_0001.jpg"))[::20][:200]:
        picture = images.load(photo)
        expected = theirs.detect(np.ascontiguousarray(picture[:, :, ::-1]))[1]
        expected = [] if expected is None else [row for row in expected if abs(row[14] - 0.7) > 0.01]
        found = [face for face in ours.detect(picture) if abs(face.det_score - 0.7) > 0.01]
        assert len(found) == len(expected), photo.name
        for row in expected:
            box = np.array([row[0], row[1], row[0] + row[2], row[1] + row[3]])
            face = max(found, key=lambda face: iou(face.bbox, box))
            assert np.abs(face.landmarks - row[4:14].reshape(5, 2)).max() < 1, photo.name
            assert np.abs(face.bbox - box).max() < 1
            assert abs(face.det_score - row[14]) < 0.01
            compared += 1
    assert compared >= 190


def test_own_landmarks_are_close_to_opencvs(shared, lfw):
    cv2 = pytest.importorskip("cv2")
    ours = FaceDetector(registry.find("facedet"), threads=1)
    path = shared / "models" / "yunet_n_dynamic.onnx"
    theirs = cv2.FaceDetectorYN.create(str(path), "", (250, 250), 0.9, 0.4, 5000)
    errors = []
    for photo in sorted(lfw.glob("*/*_0001.jpg"))[::60]:
        picture = images.load(photo)
        expected = theirs.detect(np.ascontiguousarray(picture[:, :, ::-1]))[1]
        found = ours.detect(picture)
        if expected is not None and len(expected) == len(found) == 1:
            points = expected[0, 4:14].reshape(5, 2)
            apart = np.linalg.norm(points[1] - points[0])
            errors.append(np.linalg.norm(found[0].landmarks - points, axis=1).mean() / apart)
    assert len(errors) >= 30
    assert np.mean(errors) < 0.08


def test_looks_at_a_large_face_alone_bring_landmarks_closer_to_opencvs(shared, lfw, monkeypatch):
    cv2 = pytest.importorskip("cv2")
    ours = FaceDetector(registry.find("facedet"), threads=1)
    path = shared / "models" / "yunet_n_dynamic.onnx"
    theirs = cv2.FaceDetectorYN.create(str(path), "", (250, 250), 0.9, 0.4, 5000)
    errors = {0: [], 16: []}
    for photo in sorted(lfw.glob("*/*_0001.jpg"))[::60]:
        picture = images.load(photo)
        expected = theirs.detect(np.ascontiguousarray(picture[:, :, ::-1]))[1]
        close = Image.fromarray(picture[50:200, 50:200]).resize((600, 600))  # its face is 300 px high
        for looks, own in errors.items():
            monkeypatch.setattr(detect, "_MAX_LOOKS", looks)
            found = ours.detect(np.asarray(close))
            if expected is not None and len(expected) == len(found) == 1:
                points = (expected[0, 4:14].reshape(5, 2) - 50 + 0.5) * 4 - 0.5
                apart = np.linalg.norm(points[1] - points[0])
                own.append(np.linalg.norm(found[0].landmarks - points, axis=1).mean() / apart)
    assert len(errors[16]) >= 30
    assert np.mean(errors[16]) < min(0.08, 0.9 * np.mean(errors[0]))


def test_looks_at_doubtful_faces_alone_find_more_small_ones(portraits, monkeypatch):
    detector = FaceDetector(registry.find("facedet"), threads=1)
    found = {0: 0, 16: 0}
    pasted = 0
    for path in portraits:
        picture = Image.open(path).convert("RGB")
        face = choose(detector.detect(np.asarray(picture)), "largest", (picture.height, picture.width))[0]
        for height in (10, 12, 14, 16):
            scale = height / face.height
            size = round(picture.width * scale), round(picture.height * scale)
            canvas = Image.new("RGB", (320, 256), (110, 120, 100))
            canvas.paste(picture.resize(size, Image.Resampling.LANCZOS), (100, 80))
            middle = face.landmarks.mean(axis=0) * scale + (100, 80)
            pasted += 1
            for looks in found:
                monkeypatch.setattr(detect, "_MAX_LOOKS", looks)
                for small in detector.detect(np.asarray(canvas)):
                    assert np.abs(small.landmarks.mean(axis=0) - middle).max() < height / 2, path.name
                    found[looks] += 1
    assert found[16] >= 0.7 * pasted
    assert found[16] >= 1.3 * found[0]


def test_scores_are_in_order_and_none_is_below_the_threshold(photos, portraits):
    detector = FaceDetector(registry.find("facedet"), threads=1, score_threshold=0.65)
    small = [images.load(path)[::20, ::20] for path in portraits]
    pictures = [*(images.load(path) for path in photos.glob("*.jpg")), *small]
    for faces in detector.detect_batch(pictures):
        scores = [face.det_score for face in faces]
        assert scores == sorted(scores, reverse=True)
        assert all(score >= 0.65 for score in scores)


def test_a_mirrored_picture_has_mirrored_landmarks(portraits):
    detector = FaceDetector(registry.find("facedet"), threads=1)
    for path in portraits[:3]:
        picture = images.load(path)
        face, turned = (
            choose(detector.detect(p), "largest", p.shape)[0] for p in (picture, picture[:, ::-1])
        )
        back = turned.landmarks[[1, 0, 2, 4, 3]] * (-1, 1) + (picture.shape[1] - 1, 0)
        assert np.abs(face.landmarks - back).max() < 0.02 * face.height


@pytest.mark.parametrize("file", ["face_detection_yunet_2023mar.onnx", "det_500m.onnx"])
def test_other_kinds_find_the_same_faces(shared, lfw, yunet, file):
    other = FaceDetector(registry.find(shared / "models" / file), threads=1)
    for photo in sorted(lfw.glob("*/*_0001.jpg"))[::400][:10]:
        picture = images.load(photo)
        best, face = (choose(d.detect(picture), "central", picture.shape)[0] for d in (yunet, other))
        assert iou(best.bbox, face.bbox) > 0.6
        assert np.abs(best.landmarks - face.landmarks).max() < 0.12 * best.height


@pytest.mark.parametrize("share", [1.4, 1.0, 0.93, 0.5])
def test_faces_that_fill_and_overflow_the_frame(yunet, portraits, share):
    for path in portraits[:3]:
        picture = images.load(path)
        face = yunet.detect(picture)[0]
        side = face.height / share
        left, top = (face.bbox[:2] + face.bbox[2:]) / 2 - side / 2
        box = (round(left), round(top), round(left + side), round(top + side))
        selfie = Image.fromarray(picture).crop(box).resize((900, 900))
        found = yunet.detect(np.asarray(selfie))[0]
        expected = (face.landmarks - box[:2]) * 900 / (box[2] - box[0])
        assert np.abs(found.landmarks - expected).max() < 0.12 * 900 * share


@pytest.mark.parametrize("size", [(1280, 960), (960, 1280), (2400, 1000)])
def test_faces_of_a_twentieth_of_the_height(yunet, portraits, size):
    picture = Image.open(portraits[1])
    face = yunet.detect(np.asarray(picture))[0]
    scale = 0.05 * size[1] / face.height
    small = picture.resize((round(picture.width * scale),) * 2, Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", size, (110, 120, 100))
    place = size[0] // 3, size[1] // 2
    canvas.paste(small, place)
    found = yunet.detect(np.asarray(canvas))
    assert len(found) == 1
    assert np.abs(found[0].landmarks - (face.landmarks * scale + place)).max() < 0.2 * 0.05 * size[1]


def test_landmarks_hardly_depend_on_the_size_of_the_picture(yunet, portraits):
    for path in portraits[:4]:
        picture = Image.open(path)
        whole = yunet.detect(np.asarray(picture))[0]
        scale = 150 / whole.height
        small = picture.resize((round(1024 * scale),) * 2, Image.Resampling.LANCZOS)
        canvas = Image.new("RGB", (4000, 3000), (110, 120, 100))
        canvas.paste(small, (1000, 1200))
        found = yunet.detect(np.asarray(canvas))[0]
        expected = (whole.landmarks + 0.5) * small.width / 1024 - 0.5 + (1000, 1200)
        assert np.abs(found.landmarks - expected).max() < 0.05 * 150, path.name


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turned_pictures_are_found_on_request(yunet, photos, turns):
    picture = images.load(photos / "grace-hopper.jpg")
    plain = yunet.detect(picture)[0]
    sideways = np.rot90(picture, turns)
    found = FaceDetector(yunet.network.model, threads=1, rotate=True).detect(sideways)
    assert found[0].rotation == 360 - 90 * turns
    points = np.zeros(picture.shape[:2])
    x, y = plain.landmarks[2].round().astype(int)
    points[y, x] = 1
    y, x = np.argwhere(np.rot90(points, turns))[0]
    assert np.abs(found[0].landmarks[2] - (x, y)).max() <= 0.05 * plain.height
    left, top, right, bottom = found[0].bbox
    assert left < x < right
    assert top < y < bottom


def test_batches_give_what_single_pictures_give(detector_model, photos):
    pictures = [images.load(path) for path in sorted(photos.glob("*.jpg"))] * 2
    detector = FaceDetector(detector_model, threads=1)
    together = detector.detect_batch(pictures)
    assert [bool(faces) for faces in together] == [True, True, True, False] * 2
    for picture, faces in zip(pictures, together, strict=True):
        for face, alone in zip(faces, detector.detect(picture), strict=True):
            assert np.allclose(face.landmarks, alone.landmarks, atol=0.05)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (17, 33)])
def test_odd_sizes(detector_model, shape):
    detector = FaceDetector(detector_model, threads=1, rotate=True)
    assert detector.detect(np.full((*shape, 3), 128, np.uint8)) == []


@pytest.mark.parametrize("side", [96, 128, 320])
def test_a_graph_of_a_fixed_size_looks_closer_too(photos, side):
    model = registry.find("facedet.fp32")
    card = replace(model.card, input=replace(model.card.input, size=(side, side)))
    with Image.open(photos / "grace-hopper.jpg") as photo:
        small = np.asarray(photo.resize((96, 112)))
    found = FaceDetector(replace(model, card=card), threads=1).detect(small)
    expected = FaceDetector(model, threads=1).detect(small)
    assert len(found) == len(expected) == 1
    assert iou(found[0].bbox, expected[0].bbox) > 0.7


def test_wrong_arguments(detector_model, embedder_model):
    detector = FaceDetector(detector_model)
    for wrong in (np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3)), "a.jpg"):
        with pytest.raises(InputError, match=r"pocketface\.images"):
            detector.detect(wrong)
    with pytest.raises(InputError, match="no pixels"):
        detector.detect(np.zeros((0, 9, 3), np.uint8))
    with pytest.raises(InputError, match="score_threshold"):
        FaceDetector(detector_model, score_threshold=1.5)
    with pytest.raises(InputError, match="min_face"):
        FaceDetector(detector_model, min_face=0)
    with pytest.raises(ModelError, match="not a detector"):
        FaceDetector(embedder_model)


def maps(batch, rows, columns):
    return {
        f"{name}_{stride}": np.full((batch, depth, rows // stride, columns // stride), value, np.float32)
        for stride in decoders.STRIDES
        for name, depth, value in (("score", 1, -9.0), ("bbox", 4, 0.0), ("kps", 10, 0.0))
    }


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_own_kind_is_decoded_as_its_contract_says(layout):
    outputs = maps(2, 64, 96)
    outputs["score_16"][1, 0, 2, 3] = 2.0
    outputs["bbox_16"][1, :, 2, 3] = [1, 2, 3, 4]
    outputs["kps_16"][1, :, 2, 3] = np.arange(10) / 10
    if layout == "NHWC":
        outputs = {name: value.transpose(0, 2, 3, 1) for name, value in outputs.items()}
    nothing, found = decoders.decode_pocketface(outputs, 2, (64, 96), 0.5)
    assert nothing.scores.size == 0
    centre = np.array([3.5, 2.5]) * 16
    assert np.allclose(found.scores, 1 / (1 + np.exp(-2.0)))
    assert np.allclose(found.boxes[0], (centre[0] - 16, centre[1] - 32, centre[0] + 48, centre[1] + 64))
    assert np.allclose(found.landmarks[0], centre + np.arange(10).reshape(5, 2) * 1.6)


def test_graphs_that_do_not_fit_their_kind_say_so():
    with pytest.raises(ModelError, match="no output 'cls_8'"):
        decoders.decode_yunet(maps(1, 64, 64), 1, (64, 64), 0.5)
    with pytest.raises(ModelError, match="values"):
        decoders.decode_pocketface(maps(1, 32, 64), 1, (64, 64), 0.5)
    with pytest.raises(ModelError, match="SCRFD"):
        decoders.decode_scrfd(maps(1, 64, 64), 1, (64, 64), 0.5)


def test_what_is_not_finite_is_no_face():
    outputs = maps(1, 64, 64)
    outputs["score_8"][0, 0, 1, 1] = 5.0
    outputs["kps_8"][0, 3, 1, 1] = np.nan
    assert decoders.decode_pocketface(outputs, 1, (64, 64), 0.5)[0].scores.size == 0


def test_suppression_keeps_the_best_of_each_cluster():
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(1)
    corner = rng.uniform(0, 100, (300, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 40, (300, 2))], axis=1).astype(np.float32)
    scores = rng.permutation(300).astype(np.float32) / 300
    sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    expected = cv2.dnn.NMSBoxes(sides.tolist(), scores.tolist(), 0.0, 0.4)
    assert decoders.suppress(boxes, scores, 0.4).tolist() == list(np.ravel(expected))
    assert decoders.suppress(boxes[:0], scores[:0], 0.4).size == 0
