"""The study in a real browser: through the headphone check and all pairs by keyboard, with a reload on the way."""

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from bandmate.sweep.listening_study.answers import Store, read_answers
from bandmate.sweep.listening_study.build import BuildConfig, build, sources_of
from bandmate.sweep.listening_study.desk import Desk
from bandmate.sweep.listening_study.report import measure
from bandmate.sweep.listening_study.server import Server
from bandmate.sweep.listening_study.study import Study
from tests.sweep.studies import clip_folder

pytestmark = pytest.mark.slow
TRIALS = 4
FLAGS = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--mute-audio"]
KEYS = {"a": "1", "b": "2", "none": "3"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium")
    assert path, "the browser test needs Debian's chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        expect.set_options(timeout=30_000)  # a busy machine is no failure
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Study]:
    """Two systems, "good" and "bad", four pairs of 3 s each, two lists."""
    root = tmp_path_factory.mktemp("study")
    given = [
        f"{name}={clip_folder(root / name, hz, clips=TRIALS, frames=150)}"
        for name, hz in (("good", 300), ("bad", 700))
    ]
    config = BuildConfig(clips=TRIALS, trials=TRIALS, lists=2, listen=0.2, sound="wav", title="A small study")
    return root / "study", build(sources_of(given, anchors=False), root / "study", config)[0]


@pytest.fixture
def address(study: tuple[Path, Study]) -> Iterator[str]:
    """The study served at a free port."""
    folder, content = study
    (folder / "answers.jsonl").unlink(missing_ok=True)
    with Store(folder / "answers.jsonl", content) as store:
        server = Server(("127.0.0.1", 0), Desk(content, store))
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh visitor; any error on the page fails the test."""
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield page
    context.close()
    assert errors == []


def begin(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.get_by_role("heading", name="A small study")).to_be_visible()
    page.keyboard.press("Enter")


def pass_check(page: Page, study: Study, wrong: bool = False) -> None:
    """Listens to three tasks and answers each by key; the right tone is known from the sound that was asked for."""
    softest = {each.sound: each.softest for each in study.check}
    for number in range(1, 4):
        expect(page.locator("[data-check-step]")).to_have_text(f"Headphone check, {number} of 3")
        asked = page.evaluate("performance.getEntriesByType('resource').map(each => each.name)")
        sound = [name for name in asked if "/audio/" in name][-1].rpartition("/")[2]
        page.keyboard.press("Space")
        expect(page.get_by_role("button", name="First")).to_be_enabled()
        page.keyboard.press(str(softest[sound] % 3 + 1 if wrong else softest[sound]))


def listen(page: Page) -> None:
    """Hears A and B in turn until an answer is allowed; on a busy machine a piece may end before its turn."""
    allowed = page.get_by_role("radio", name="No preference")
    expect(allowed).to_be_disabled()
    for letter in "ab" * 10:
        page.keyboard.press(letter)
        expect(page.locator(f"[data-play={letter}].heard")).to_be_visible()
        page.wait_for_timeout(300)
        if letter == "b" and allowed.is_enabled():
            return
    expect(allowed).to_be_enabled()


def answer(page: Page, number: int, key: str) -> None:
    expect(page.locator("[data-step]")).to_have_text(f"Pair {number} of {TRIALS}")
    listen(page)
    page.keyboard.press(key)
    page.keyboard.press("Enter")


def right_key(folder: Path, study: Study, number: int) -> str:
    """The key for the system "good" in the pair of that number, of the only participant."""
    (line,) = [
        json.loads(each) for each in (folder / "answers.jsonl").read_text().splitlines() if '"list"' in each
    ]
    return KEYS["a" if study.lists[line["list"]][number - 1].a == 0 else "b"]


def test_through_the_study_by_keyboard_with_a_reload(
    page: Page, study: tuple[Path, Study], address: str
) -> None:
    folder, content = study
    begin(page, address)
    pass_check(page, content)
    for number in (1, 2):
        expect(page.locator("[data-step]")).to_have_text(f"Pair {number} of {TRIALS}")
        answer(page, number, right_key(folder, content, number))
    expect(page.locator("[data-step]")).to_have_text(f"Pair 3 of {TRIALS}")
    page.reload()
    answer(page, 3, right_key(folder, content, 3))
    answer(page, 4, KEYS["none"])
    expect(page.get_by_role("heading", name="Thank you.")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Thank you.")).to_be_visible()

    report = measure(content, read_answers(folder / "answers.jsonl", content))
    good, bad = report["systems"]
    assert (good["wins"], good["losses"], good["ties"]) == (3, 0, 1)
    assert (good["win_rate"]["mean"], bad["win_rate"]["mean"]) == (0.875, 0.125)
    assert report["store"] == {"began": 1, "finished": 1, "damaged_lines": [], "repeated": 0, "foreign": 0}


def test_starting_over_while_the_next_pair_is_loading_does_no_harm(
    page: Page, study: tuple[Path, Study], address: str
) -> None:
    begin(page, address)
    pass_check(page, study[1])
    step = page.locator("[data-step]")
    expect(step).to_have_text(f"Pair 1 of {TRIALS}")
    listen(page)
    held: list[Route] = []
    page.route("**/audio/*", lambda route: held.append(route))  # the sounds of the next pair are slow to come
    with page.expect_request("**/audio/*"):
        page.keyboard.press("3")
        page.keyboard.press("Enter")
    while len(held) < 3:
        page.wait_for_timeout(50)
    page.keyboard.press("r")
    page.get_by_role("button", name="From the start").click()
    for route in held:
        route.continue_()
    page.unroute("**/audio/*")
    answer(page, 2, "3")
    expect(step).to_have_text(f"Pair 3 of {TRIALS}")


def test_a_failed_headphone_check_is_asked_again(page: Page, study: tuple[Path, Study], address: str) -> None:
    folder, content = study
    begin(page, address)
    pass_check(page, content, wrong=True)
    expect(page.locator("#check-note")).to_contain_text("headphones")
    expect(page.locator("[data-check-step]")).to_have_text("Headphone check, 1 of 3")
    assert (folder / "answers.jsonl").read_bytes() == b""
    pass_check(page, content)
    expect(page.locator("[data-step]")).to_have_text(f"Pair 1 of {TRIALS}")


def test_by_touch_on_a_phone(browser: Browser, study: tuple[Path, Study], address: str) -> None:
    _, content = study
    context = browser.new_context(viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(address)
    page.get_by_role("button", name="Begin").tap()
    pass_check(page, content)
    allowed = page.get_by_role("radio", name="No preference")
    while not allowed.is_enabled():
        for letter in "AB":
            page.get_by_role("button", name=f"Play {letter}").tap()
            page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    allowed.tap()
    page.get_by_role("button", name="Next").tap()
    expect(page.locator("[data-step]")).to_have_text(f"Pair 2 of {TRIALS}")
    context.close()


def test_an_answer_that_could_not_be_saved_is_not_lost(
    page: Page, study: tuple[Path, Study], address: str
) -> None:
    _, content = study
    begin(page, address)
    pass_check(page, content)
    expect(page.locator("[data-step]")).to_have_text(f"Pair 1 of {TRIALS}")
    page.route(
        "**/api/answers",
        lambda route: route.fulfill(status=200, body="<html>", content_type="text/html"),
        times=1,
    )
    answer(page, 1, "1")
    expect(page.locator("#note")).to_contain_text("not saved")
    page.keyboard.press("Enter")
    expect(page.locator("[data-step]")).to_have_text(f"Pair 2 of {TRIALS}")
