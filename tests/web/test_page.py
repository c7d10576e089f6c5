"""The page does in Chromium what it says, with good pictures and with bad ones."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from PIL import Image

from pocketface import similarity

from .chromium import TIMEOUT, launch, ready, serving, sync_api

expect = sync_api.expect
expect.set_options(timeout=TIMEOUT)

FOUND = re.compile(r"^\d+ faces? found")


def show(page, which: int, picture: Path | bytes, name: str = "photo.jpg") -> None:
    data = picture.read_bytes() if isinstance(picture, Path) else picture
    page.set_input_files(f"#file-{which}", {"name": name, "mimeType": "image/jpeg", "buffer": data})


def message(page, which: int):
    return page.locator(f"#message-{which}")


def encoded(image: Image.Image, format: str = "JPEG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def shown_similarity(page) -> float:
    text = page.locator("#reason").inner_text()
    found = re.match(r"Similarity (-?\d\.\d{3})", text)
    assert found, text
    return float(found[1])


def test_two_people_are_told_apart_as_in_python(page, faces, recognizer) -> None:
    show(page, 0, faces[0])
    show(page, 1, faces[1])
    expect(page.get_by_text("Different people", exact=True)).to_be_visible()
    expected = recognizer.verify(faces[0], faces[1])
    assert shown_similarity(page) == pytest.approx(expected.similarity, abs=2e-3)
    assert f"threshold {expected.threshold.value:.3f}" in page.locator("#reason").inner_text()
    assert "1 in 1,000" in page.locator("#reason").inner_text()


def test_one_person_is_recognised(page, faces) -> None:
    show(page, 0, faces[0])
    show(page, 1, faces[2])
    expect(page.get_by_text("Same person", exact=True)).to_be_visible()
    page.locator("summary").click()
    times = [float(text) for text in page.locator("#times td").all_inner_texts()]
    assert len(times) == 8
    assert min(times) >= 0
    page.locator("summary").click()


def test_exif_orientation_is_applied(page, faces) -> None:
    upright = opened(faces[0])
    exif = Image.Exif()
    exif[0x0112] = 6
    show(page, 0, encoded(upright, quality=95))
    show(page, 1, encoded(upright.transpose(Image.Transpose.ROTATE_90), quality=95, exif=exif))
    expect(page.get_by_text("Same person", exact=True)).to_be_visible()
    assert shown_similarity(page) > 0.99


def test_with_several_faces_the_user_chooses(page, faces, recognizer) -> None:
    both = Image.new("RGB", (850, 600))
    both.paste(opened(faces[0]).resize((600, 600)), (0, 0))
    both.paste(opened(faces[1]).resize((250, 300)), (600, 0))
    group = encoded(both, quality=95)
    by_size = sorted(recognizer.analyze(group), key=lambda face: -face.area)
    wanted = recognizer.embed(faces[1])
    second = max(range(len(by_size)), key=lambda i: similarity(by_size[i].embedding, wanted))
    show(page, 0, group)
    show(page, 1, faces[1])
    expect(message(page, 0)).to_contain_text(f"{len(by_size)} faces found; choose")
    expect(page.get_by_text("Different people", exact=True)).to_be_visible()
    page.get_by_label("Face to compare").first.select_option(str(second))
    expect(page.get_by_text("Same person", exact=True)).to_be_visible()


def test_a_file_that_is_no_picture_is_named(page) -> None:
    show(page, 0, b"not a picture at all", "notes.txt")
    reason = "is no picture that this browser can read, or it is damaged."
    expect(message(page, 0)).to_have_text(f"notes.txt {reason}")
    expect(page.locator("#result")).to_be_hidden()


def test_a_broken_jpeg_gives_a_message_or_a_face(page, faces) -> None:
    data = faces[0].read_bytes()
    show(page, 0, data[:2000], "broken.jpg")
    expect(message(page, 0)).to_have_text(re.compile("^(broken.jpg is damaged|No face was found)"))
    show(page, 0, faces[0])
    expect(message(page, 0)).to_have_text(FOUND)


def test_no_face_is_said(page, photos) -> None:
    show(page, 0, photos / "no-face.jpg")
    expect(message(page, 0)).to_contain_text("No face was found.")
    expect(page.locator("#result")).to_be_hidden()


def test_a_result_disappears_with_its_photo(page, faces) -> None:
    show(page, 0, faces[0])
    show(page, 1, faces[1])
    expect(page.locator("#result")).to_be_visible()
    show(page, 1, b"nothing", "nothing.jpg")
    expect(page.locator("#result")).to_be_hidden()


def test_a_photo_of_60_megapixels_works_and_a_larger_one_is_refused(page, faces) -> None:
    large = opened(faces[0]).resize((7740, 7740))
    show(page, 0, encoded(large, quality=70), "large.jpg")
    expect(message(page, 0)).to_have_text(FOUND)
    show(page, 1, encoded(Image.new("L", (10_000, 10_000)), "PNG"), "bomb.png")
    expect(message(page, 1)).to_contain_text("bomb.png has 100 megapixels; up to 64 can be read.")


def test_the_keyboard_is_enough(page, faces) -> None:
    page.locator("h1").click()  # the focus starts above everything
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file-0"
    choosers = []
    page.once("filechooser", lambda chooser: choosers.append(chooser))
    for _ in range(10):  # without a window Chromium now and then drops a key
        page.keyboard.press("Enter")
        page.wait_for_timeout(500)
        if choosers:
            break
    choosers[0].set_files(faces[0])
    expect(message(page, 0)).to_have_text(FOUND)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Use the camera"


def test_a_screen_reader_is_told_everything(page, faces) -> None:
    show(page, 0, faces[0])
    show(page, 1, faces[1])
    expect(page.locator("#result").get_by_role("status")).to_contain_text("Different people")
    expect(page.get_by_role("region", name="First photo").get_by_role("status")).to_have_text(FOUND)
    expect(page.get_by_role("img", name=re.compile(r"^Photo with \d+ face"))).to_have_count(2)
    scale = re.compile("^Different people: similarity .*, threshold")
    expect(page.get_by_role("img", name=scale)).to_be_visible()
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select")]
             .filter((element) => !(element.labels?.[0] ?? element).textContent.trim()).length"""
    )
    assert unnamed == 0


def test_a_narrow_screen_needs_no_scrolling_sideways(page, faces) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    show(page, 0, faces[0])
    show(page, 1, faces[1])
    expect(page.locator("#result")).to_be_visible()
    page.locator("summary").click()
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 320
    page.locator("summary").click()


def test_the_camera_takes_a_photo(page, faces) -> None:
    page.context.grant_permissions(["camera"])
    show(page, 1, faces[0])
    page.get_by_role("button", name="Use the camera").first.click()
    expect(page.get_by_role("dialog", name="Camera")).to_be_visible()
    page.wait_for_timeout(500)  # the first frame
    page.get_by_role("button", name="Take the photo").click()
    expect(page.get_by_text("Same person", exact=True)).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_the_camera_can_be_left(page) -> None:
    page.context.grant_permissions(["camera"])
    page.get_by_role("button", name="Use the camera").first.click()
    expect(page.get_by_role("dialog", name="Camera")).to_be_visible()
    page.keyboard.press("Escape")
    expect(message(page, 0)).to_have_text("No photo was taken.")


def test_a_camera_that_is_not_allowed_is_said(page) -> None:
    page.get_by_role("button", name="Use the camera").first.click()
    expect(message(page, 0)).to_contain_text("The camera is not allowed.")


def test_no_camera_is_said(playwright, address: str) -> None:
    browser = launch(playwright)
    try:
        context = browser.new_context()
        context.grant_permissions(["camera"])
        page = context.new_page()
        page.goto(address)
        ready(page)
        page.get_by_role("button", name="Use the camera").first.click()
        expect(message(page, 0)).to_have_text("No camera was found. Choose a photo instead.")
    finally:
        browser.close()


def test_it_works_offline_after_the_first_visit(context, site, faces) -> None:
    page = context.new_page()
    with serving(site) as server:
        page.goto(f"http://localhost:{server.server_address[1]}/")
        expect(page.locator("#state")).to_have_text("Ready. This page now works without a network.")
    context.set_offline(True)
    page.reload()
    ready(page)
    show(page, 0, faces[0])
    show(page, 1, faces[1])
    expect(page.get_by_text("Different people", exact=True)).to_be_visible()


def test_the_policy_blocks_every_other_address(context, address: str) -> None:
    answered: list[str] = []
    context.on("response", lambda response: answered.append(response.url))
    page = context.new_page()
    page.goto(f"{address}style.css")  # every file comes with the policy; this one loads no models
    blocked = page.evaluate(
        """async () => {
            const blocked = [];
            addEventListener("securitypolicyviolation", (event) => blocked.push(event.effectiveDirective));
            await fetch("https://elsewhere.invalid/", { method: "POST", body: "a face" }).catch(() => {});
            new Image().src = "https://elsewhere.invalid/?a-face";
            try { new WebSocket("wss://elsewhere.invalid/"); } catch {}
            await new Promise((resolve) => setTimeout(resolve, 200));
            return blocked.sort();
        }"""
    )
    assert blocked == ["connect-src", "connect-src", "img-src"]
    assert [url for url in answered if not url.startswith(address)] == []


def test_nothing_is_stored_but_the_pages_own_files(page, site, faces) -> None:
    show(page, 0, faces[0])
    expect(message(page, 0)).to_have_text(FOUND)
    expect(page.locator("#state")).to_contain_text("works without a network")
    stored = page.evaluate(
        """async () => ({
            names: localStorage.length + sessionStorage.length + (await indexedDB.databases()).length,
            cookies: document.cookie,
            files: (await Promise.all((await caches.keys()).map(async (name) =>
                (await (await caches.open(name)).keys())
                    .map((request) => new URL(request.url).pathname.slice(1))))).flat(),
        })"""
    )
    assert (stored["names"], stored["cookies"]) == (0, "")
    assert set(stored["files"]) == {*site.files, ""} - {"index.html", "sw.js", "files.js"}


def test_a_changed_model_is_refused(context, address: str) -> None:
    page = context.new_page()
    page.route("**/models/embedder.onnx", lambda route: route.fulfill(body=b"something else"))
    page.goto(address)
    expect(page.locator("#state")).to_contain_text("not the file that its card describes")
