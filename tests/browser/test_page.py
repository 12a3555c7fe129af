# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The HTML report in a real browser. Pictures are left in tests/output/browser."""

from __future__ import annotations

import re
import time

import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports import document as _document
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports import formats as _formats
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster, sample
from ansible_collections.meshops.istio_precheck.tests.helpers.sample import unread

EVERYTHING = sample.everything()
HTML = _formats.report_as(EVERYTHING, "html", sample.about())
FINE = cluster.report(binds=("0.0.0.0:8080",))
FAILED = {part: [] for part in _document.REPORT if part not in ("failed", "msg", "summary")} | {
    "summary": {},
    "failed": True,
    "msg": "It cannot be reached",
}
MANY = _formats.reports_as(
    {
        "reports": [
            _document.document(EVERYTHING, sample.about("north")),
            _document.document(FINE, sample.about("south", passed=True)),
            _document.document(FAILED, sample.about("east")),
            _document.document(EVERYTHING, sample.about("west")),
        ],
        "left_out": [{"path": "reports/lost.json", "reason": "it is no JSON"}],
    },
    "html",
)
LARGE = _formats.report_as(sample.large(300, 60), "html", sample.about())
SECONDS = 5  # within which a person's action has to show on a page with 2,000 findings: generous, for a machine that does other things, too


def shown(page, selector=".entry"):
    return page.locator(f"{selector}:visible").count()


def kinds(page):
    return set(page.locator(".entry:visible").evaluate_all("all => all.map(one => one.dataset.k)"))


# ---------------------------------------------------------------------------------------------------------------------
# Seen


@pytest.mark.parametrize("width", [1280, 390], ids=["wide", "narrow"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["everything", "many", "large"])
def test_the_page_is_accessible_and_fits_its_window(opened, shots, name, scheme, width):
    page = opened(
        {"everything": HTML, "many": MANY, "large": LARGE}[name],
        color_scheme=scheme,
        viewport={"width": width, "height": 6000},
    )
    page.screenshot(path=shots / f"{name}-{scheme}-{width}.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for summary in page.locator(".row").all()[:4]:
        summary.click()
    page.locator(".yaml > summary:visible").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page).response
    assert [
        (violation["id"], [node["target"] for node in violation["nodes"]][:3]) for violation in found["violations"]
    ] == []
    assert {"color-contrast", "label", "button-name"} <= {rule["id"] for rule in found["passes"]}


def test_dark_mode_is_dark_and_light_mode_is_light(opened):
    sums = {}
    for scheme in ("light", "dark"):
        page = opened(HTML, color_scheme=scheme)
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        sums[scheme] = sum(int(part) for part in colour.strip("rgb()").split(",")[:3])
    assert sums["light"] > 3 * 200 and sums["dark"] < 3 * 60


def test_the_page_works_as_a_file_too(opened):
    page = opened(HTML, as_file=True)
    page.locator("#by-ns").select_option("shop")
    assert shown(page, ".ns") == 1


def test_the_page_is_readable_without_its_script(opened, shots):
    page = opened(HTML, java_script_enabled=False)
    assert shown(page) == page.locator(".entry").count() == 14
    assert not page.locator("#filter").is_visible() and not page.locator(".copy").first.is_visible()
    card = page.locator(".ns .card").first
    assert not card.is_visible()
    page.locator(".ns .row").first.click()
    assert card.is_visible() and "IST0143/shop/Deployment/checkout/8080" in card.inner_text()
    page.locator(".spaces a", has_text="billing").click()
    expect(page.locator("#ns\\=billing .ns-h")).to_be_in_viewport()


def test_each_port_is_drawn_with_where_it_listens_and_where_connections_go(opened):
    page = opened(HTML)
    page.locator("#unfold").click()
    picture = page.locator(".k-breaks_on_upgrade .pic").first
    assert picture.get_attribute("aria-label") == (
        "Service checkout:80 leads to port 8080. Today connections end at 127.0.0.1:8080, where the program listens; "
        "after the upgrade at the pod IP, where nothing listens."
    )
    assert picture.locator(".slot.on b").inner_text() == "127.0.0.1:8080"
    assert picture.locator(".slot.off b").inner_text() == "pod IP:8080"
    lines = picture.locator("use").evaluate(
        "use => { const box = use.getBoundingClientRect(); return [box.width, box.height]; }"
    )
    assert min(lines) > 20  # something is drawn
    for kind, on, off in (
        ("unreachable", 1, 1),
        ("unknown", 1, 1),
        ("not_listening", 0, 1),
        ("waived", 1, 1),
        ("remediated", 1, 0),
    ):
        picture = page.locator(f".k-{kind} .pic").first
        assert (picture.locator(".slot.on").count(), picture.locator(".slot.off").count()) == (on, off), kind


def test_print_unfolds_the_sidecars_hides_the_controls_and_is_light(opened, shots):
    page = opened(HTML, color_scheme="dark")
    page.locator("input[value=waived]").uncheck()
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("pre:visible").count() == len(EVERYTHING["remediations"])
    assert not page.locator("select").is_visible() and not page.locator(".copy").first.is_visible()
    assert page.locator("#shown").inner_text() == "13 of 14 shown"  # paper says that it is not all
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.screenshot(path=shots / "print.png", full_page=True)
    page.pdf(path=shots / "print.pdf", format="A4")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")
    assert page.locator("pre:visible").count() == 0


def test_many_findings_print_as_a_line_each_and_what_was_unfolded(opened, shots):
    page = opened(LARGE)
    assert pages(page.pdf(path=shots / "large.pdf", format="A4")) <= 15
    page.emulate_media(media="print")
    assert page.locator(".on-paper").is_visible() and page.locator(".card:visible").count() == 0
    page.emulate_media(media="screen")
    page.locator(".ns .row").first.click()
    page.emulate_media(media="print")
    assert page.locator(".card:visible").count() == 1
    page.emulate_media(media="screen")
    page.locator("#by-ns").select_option("team-07")  # of which there are few
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("pre:visible").count() == 5 and not page.locator(".on-paper").is_visible()


def test_many_findings_print_as_a_line_each_without_the_script(opened):
    page = opened(LARGE, java_script_enabled=False)
    assert pages(page.pdf(format="A4")) <= 15


def pages(pdf: bytes) -> int:
    return len(re.findall(rb"/Type */Page\b", pdf))


# ---------------------------------------------------------------------------------------------------------------------
# Used


def test_the_filter_works_by_keyboard_alone(opened):
    page = opened(HTML)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "by-ns"
    page.keyboard.type("shop")
    assert page.locator("#by-ns").input_value() == "shop"
    assert page.locator(".ns:visible .ns-h").count() == 1
    assert page.locator("#shown").inner_text() == "3 of 14 shown"
    page.keyboard.press("Tab")  # to the button that shows all again
    page.keyboard.press("Tab")  # to the one that unfolds
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.value") == "breaks_on_upgrade"
    outline = page.evaluate("getComputedStyle(document.activeElement.closest('label')).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Space")
    assert kinds(page) == {"unreachable"}
    assert page.locator("#shown").inner_text() == "1 of 14 shown"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#shown")).to_have_text("14 of 14 shown")
    expect(page.locator("#q")).to_be_focused()


def test_a_row_unfolds_by_keyboard_into_its_card(opened):
    page = opened(HTML)
    row = page.locator(".ns .row").first
    row.focus()
    page.keyboard.press("Enter")
    assert page.locator(".ns .card").first.is_visible()
    page.keyboard.press("Space")
    assert not page.locator(".ns .card").first.is_visible()


def test_few_rows_are_unfolded_from_the_start(opened):
    page = opened(_formats.report_as(cluster.report(), "html", sample.about()))
    assert page.locator(".card:visible").count() == 1 and page.locator("#unfold").inner_text() == "Fold"


# ---------------------------------------------------------------------------------------------------------------------
# Searched, counted, and sent


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("checkout", 2),
        ("CHECKOUT 9090", 1),
        ("8443", 2),
        ("shop unreachable", 1),
        ("ledger readiness", 1),
        ("batch-7d4b9-b", 1),
        ("no_tool", 1),
        ("billing ledger", 2),
        ("IST0143/payments/Deployment/canary/8080", 1),
        ("no such thing", 0),
    ],
)
def test_the_search_finds_what_holds_every_word(opened, words, left):
    page = opened(HTML)
    page.locator("#q").fill(words)
    assert shown(page) == left
    assert page.locator("#shown").inner_text() == f"{left} of 14 shown"
    assert page.locator("#none").is_visible() is (left == 0)


def test_every_count_follows_the_filter(opened):
    page = opened(HTML)

    def chips():
        return {chip.get_attribute("data-total"): int(chip.inner_text()) for chip in page.locator("[data-total]").all()}

    assert sum(chips().values()) == 14
    page.locator("#by-ns").select_option("search")
    assert {kind: number for kind, number in chips().items() if number} == {"unchecked": 2, "not_listening": 1}
    assert page.locator(".spaces tbody tr:visible").count() == 1
    page.locator("#q").fill("timeout")
    assert {kind: number for kind, number in chips().items() if number} == {"unchecked": 1}
    assert page.locator(".unread .tally b").inner_text() == "1"
    assert page.locator(".spaces tr[data-ns=search] td[data-k=unchecked] b").inner_text() == "1"
    page.locator("#show-all").click()
    expect(page.locator("#shown")).to_have_text("14 of 14 shown")
    page.locator("input[value=breaks_on_upgrade]").uncheck()
    assert chips()["breaks_on_upgrade"] == 2  # what the box would show
    assert page.locator(".spaces tr[data-ns=shop] td[data-k=breaks_on_upgrade] b").inner_text() == "0"
    assert page.locator("#ns\\=shop .tally").inner_text().split() == ["1", "unreachable", "already"]


def test_what_is_shown_stands_in_the_address_and_a_link_shows_the_same(opened):
    page = opened(HTML)
    page.locator("#by-ns").select_option("shop")
    assert page.url.endswith("/page.html#ns=shop")
    page.locator("#q").fill("checkout 9090")
    page.locator("input[value=waived]").uncheck()
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    assert page.locator("#shown").inner_text() == "1 of 14 shown"
    assert page.locator("#q").input_value() == "checkout 9090" and page.locator("#by-ns").input_value() == "shop"
    assert page.locator(".card:visible").count() == 1  # the only row is unfolded
    page.locator("#show-all").click()
    expect(page.locator("#shown")).to_have_text("14 of 14 shown")
    assert page.url.endswith("/page.html")


def test_the_table_of_namespaces_leads_to_each(opened):
    page = opened(HTML)
    page.locator(".spaces a", has_text="search").click()
    expect(page.locator("#shown")).to_have_text("3 of 14 shown")
    expect(page.locator("#by-ns")).to_have_value("search")
    page.evaluate("location.hash = '#ns=gone'")
    expect(page.locator("#shown")).to_contain_text("nothing to show of namespace gone")


def test_a_link_on_a_page_of_many_shows_one_namespace_of_one_cluster(opened):
    page = opened(MANY)
    page.evaluate("location.hash = '#cluster=west&ns=billing'")
    expect(page.locator("#by-cluster")).to_have_value("west")
    assert page.locator(".ns:visible").count() == 1


def test_pods_that_were_not_read_are_one_grey_row_for_each_reason(opened, shots):
    page = opened(_formats.report_as(unread(), "html", sample.about()))
    page.screenshot(path=shots / "unread.png")
    rows = page.locator(".unread .row").all_inner_texts()
    assert len(rows) == 4 and "193 pods" in rows[0] and "forbidden" in rows[0]
    assert page.locator(".card li:visible").count() == 0
    page.locator(".unread .row").first.click()
    assert page.locator(".card li:visible").count() == 10
    page.locator("#by-ns").select_option("team-3")
    assert page.locator(".card li:visible").count() == 1
    assert sum(int(pods.split()[0]) for pods in page.locator("[data-pods]:visible").all_inner_texts()) == 50
    colour = page.locator(".unread .entry").first.evaluate("row => getComputedStyle(row).borderLeftColor")
    red, green, blue = (int(part) for part in colour.strip("rgb()").split(","))
    assert max(red, green, blue) - min(red, green, blue) < 32


def test_the_filter_says_when_nothing_is_left(opened):
    page = opened(HTML)
    page.locator("#by-ns").select_option("search")
    for kind in ("unchecked", "not_listening"):
        page.locator(f"input[value={kind}]").uncheck()
    assert shown(page) == 0 and page.locator("#none").is_visible()
    assert page.locator("#none").inner_text() == "Nothing matches this filter."


def test_each_impact_can_be_shown_alone(opened):
    page = opened(HTML)
    names = page.locator("input[name=kind]").evaluate_all("all => all.map(one => one.value)")
    assert names == [
        "breaks_on_upgrade",
        "unknown",
        "unreachable",
        "failing_probes",
        "unchecked",
        "opens_on_upgrade",
        "not_listening",
        "not_checked",
        "waived",
        "remediated",
    ]
    for name in names:
        for other in names:
            page.locator(f"input[value={other}]").set_checked(other == name)
        assert kinds(page) == {name}


def test_a_page_of_many_can_be_filtered_by_cluster(opened):
    page = opened(MANY)
    assert page.locator("h1").inner_text() == "1 of 4 clusters are ready for the upgrade"
    assert page.locator(".overview tbody tr").count() == 4
    page.locator("#by-cluster").select_option("west")
    assert page.locator(".cluster:visible h2").all_inner_texts() == ["west"]
    page.locator("#by-cluster").select_option("")
    page.locator("#by-ns").select_option("billing")
    assert set(page.locator(".cluster:visible h2").all_inner_texts()) == {"north", "south", "east", "west"}
    assert page.locator(".ns:visible").count() == 2


def test_a_sidecar_is_copied_as_it_is_written(opened):
    page = opened(HTML, permissions=["clipboard-read", "clipboard-write"])
    page.locator("#unfold").click()
    page.locator(".yaml > summary").first.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#said")).to_have_text("Copied to the clipboard")
    taken = page.evaluate("navigator.clipboard.readText()")
    assert taken == page.locator("pre").first.text_content()
    assert yaml.safe_load(taken) in [remediation["manifest"] for remediation in EVERYTHING["remediations"]]


@pytest.mark.parametrize("refuse", [False, True], ids=["by the old command", "by hand"])
def test_a_sidecar_can_be_copied_where_the_clipboard_is_refused(opened, refuse):
    page = opened(HTML)
    page.evaluate(
        """refuse => {
            Object.defineProperty(navigator, "clipboard", { value: undefined });
            const old = document.execCommand.bind(document);
            document.execCommand = (name) => refuse ? false : old(name);
            document.addEventListener("copy", () => { window.copied = String(getSelection()); });
        }""",
        refuse,
    )
    page.locator("#unfold").click()
    page.locator(".yaml > summary").first.click()
    page.locator(".copy").first.click()
    wanted = page.locator("pre").first.text_content()
    assert page.evaluate("String(getSelection())").strip() == wanted.strip()
    said = page.locator("#said").inner_text()
    assert said == ("Selected. Copy it with the keyboard." if refuse else "Copied to the clipboard")
    assert refuse or page.evaluate("window.copied").strip() == wanted.strip()


# ---------------------------------------------------------------------------------------------------------------------
# Abused, and large


def test_hostile_text_is_text(opened, shots):
    about = {key: sample.HOSTILE + value for key, value in sample.about().items() if isinstance(value, str)}
    report = sample.hostile(EVERYTHING)
    page = opened(_formats.report_as(report, "html", {**sample.about(), **about, "problems": [sample.HOSTILE]}))
    page.screenshot(path=shots / "hostile.png")
    page.locator("#by-ns").select_option(index=1)
    assert shown(page, ".ns") == 1
    for summary in page.locator("summary:visible").all():
        summary.click()
    assert "TAKEN" not in page.title().split("<")[0] and page.title().endswith("production")
    assert page.locator("img").count() == 0 and page.locator("script").count() == 1
    assert (
        page.locator("body *").evaluate_all(
            "all => all.filter(one => one.getAttributeNames().some(name => name.startsWith('on'))).length"
        )
        == 0
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 1200
    page.evaluate("location.hash = document.querySelector('.spaces a').hash")
    assert shown(page, ".ns") <= 1 and "TAKEN" not in page.title().split("<")[0]


def test_a_script_that_gets_into_the_page_all_the_same_does_not_run(browser, site):
    folder, url, _asked = site
    smuggled = "<script>document.title='TAKEN'</script><img src=x onerror=\"document.title='TAKEN'\"><style>body{display:none}</style></main>"
    (folder / "smuggled.html").write_text(HTML.replace("</main>", smuggled), "utf-8")
    page = browser.new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(f"{url}/smuggled.html")
    page.wait_for_timeout(200)
    assert page.title() == "Do not upgrade yet: production"
    assert page.locator("h1").is_visible()
    assert sum("Content Security Policy" in complaint for complaint in complaints) >= 3
    page.close()


def test_two_thousand_findings_stay_usable(opened, shots):
    text = _formats.report_as(sample.large(), "html", sample.about())
    assert len(text.encode()) < 6_000_000
    page = opened(text)
    assert page.locator("#shown").inner_text() == "2,000 of 2,000 shown"
    for change, left in (
        (lambda: page.locator("#by-ns").select_option("team-07"), 50),
        (lambda: page.locator("input[value=unreachable]").uncheck(), None),
        (lambda: page.locator("#q").fill("service-0"), None),
        (lambda: page.locator("#by-ns").select_option(""), None),
        (lambda: page.locator("#show-all").click(), 2000),
    ):
        began = time.monotonic()
        change()
        # Two frames: what has changed is laid out and painted.
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert time.monotonic() - began < SECONDS
        if left:
            expect(page.locator("#shown")).to_have_text(f"{left:,} of 2,000 shown")
    page.screenshot(path=shots / "large.png")
