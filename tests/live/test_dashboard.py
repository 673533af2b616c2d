"""The dashboard, in a browser."""

import signal
import urllib.request

import pytest

import browser as browsers
from daemon import queue_config
from orders import bad_order, make_table, order, push
from servers import wait_until

CARD = "#queue-1"
HOSTILE = "<img src=x onerror=document.title='owned'>"

# Contrast of two colours as WCAG 2 defines it; the arguments are CSS variables.
CONTRAST = """
const style = getComputedStyle(document.documentElement);
const light = name => {
	const hex = style.getPropertyValue(name).trim().replace(/^#(.)(.)(.)$/, '#$1$1$2$2$3$3');
	const parts = [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16) / 255).map(c => c <= 0.03928 ? c / 12.92 : Math.pow((c + 0.055) / 1.055, 2.4));
	return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
};
const [high, low] = [light(arguments[0]), light(arguments[1])].sort((a, b) => b - a);
return (high + 0.05) / (low + 0.05);
"""


@pytest.fixture(scope="module")
def browser():
    """One for all tests here."""
    if browsers.missing():
        pytest.skip(f"no browser: {browsers.missing()} not installed")
    opened = browsers.Browser()
    yield opened
    opened.close()


@pytest.fixture
def page(browser):
    """page(daemon): its dashboard, open in the browser. At the end the console must have nothing to complain about."""
    def open_page(daemon):
        browser.open("about:blank")
        browser.complaints()
        browser.open(f"http://{daemon.config['stats']['listen']}/")
        browser.wait_text(f"{CARD} h2", "orders")
        return browser

    yield open_page
    assert not [line for line in browser.complaints() if "Failed to load resource" not in line and "net::ERR" not in line]


@pytest.fixture
def daemon(pg, clean, redis_server, sluice):
    """A daemon for the queue `orders`, which it has taken over."""
    make_table(pg)
    return sluice(queue_config(redis_server, pg, pool_size=2))


def wait_shown(browser, selector, words):
    """As browser.wait_text(), with a page that asks the daemon all the time, as it does when its tab comes to the front."""
    def shown():
        browser.run("document.dispatchEvent(new Event('visibilitychange'))")
        return words.lower() in browser.text(selector).lower()
    wait_until(shown, 30, f"'{words}' in {selector}", 0.1)


def get(daemon, route, accept):
    """(headers, body) of a page as a browser or a tool asks for it."""
    request = urllib.request.Request(f"http://{daemon.config['stats']['listen']}{route}", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.headers, answer.read().decode()


def test_who_gets_the_page(daemon):
    headers, body = get(daemon, "/", "text/html,application/xhtml+xml,*/*;q=0.8")
    assert headers["Content-Type"] == "text/html; charset=utf-8" and body.startswith("<!DOCTYPE html>")
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "@NONCE@" not in body
    nonce = policy.split("script-src 'nonce-")[1].split("'")[0]
    assert len(nonce) == 32 and body.count(f'nonce="{nonce}"') == 2
    assert get(daemon, "/", "text/html")[0]["Content-Security-Policy"] != policy, "a new number each time"
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["X-Frame-Options"] == "DENY"
    for route, accept in (("/", "*/*"), ("/?table=queues", "text/html"), ("/metrics", "text/html")):
        headers, body = get(daemon, route, accept)
        assert headers["Content-Type"].startswith("text/plain") and "<" not in body


def test_the_page(page, daemon, redis_client):
    browser = page(daemon)
    push(redis_client, "orders", range(1, 501))
    browser.wait_text(f"{CARD} .account", "500 came")
    browser.wait_text(f"{CARD} .account", "= 500 stored")
    browser.wait_text(f"{CARD} .account", "adds up")
    browser.wait_text(f"{CARD} .chip", "idle")
    assert "2 of 2 connections open" in browser.text("#pools caption")
    assert "took the queue over" in browser.text("#events")
    browser.wait_text("#fresh", "live")
    fetched = browser.run("return performance.getEntriesByType('resource').map(e => e.name)")
    assert fetched and all(name == f"http://{daemon.config['stats']['listen']}/stats?history=1" for name in fetched)
    assert browser.run("return document.querySelectorAll('th:not([scope]), table:not(:has(caption)), [onclick], [style]:not(.meter i)').length") == 0
    browser.wait_text(f"{CARD} figcaption", "out")
    assert browser.run(f"return document.querySelector('{CARD} path.out').getAttribute('d')") is not None


def test_nothing_else_may_run(browser, page, daemon):
    page(daemon)
    browser.run("const s = document.createElement('script'); s.textContent = 'document.title = \"owned\"'; document.body.append(s)")
    assert "owned" not in browser.run("return document.title")
    elsewhere = "return fetch('http://127.0.0.1:1/').then(() => 'fetched', error => error.name)"
    assert browser.run(elsewhere) == "TypeError"
    complaints = browser.complaints()
    assert sum("Content Security Policy" in line for line in complaints) >= 2, complaints


def test_keys_and_screen_readers(page, daemon):
    browser = page(daemon)
    browser.run("document.activeElement.blur()")
    focus = "const e = document.activeElement; return e.id || e.className || e.getAttribute('aria-label')"
    seen = []
    for _ in range(6):
        browser.press("Tab")
        seen.append(browser.run(focus))
    assert seen[:2] == ["skip", "hold"] and seen.count("plot") == 3, seen
    assert browser.run("return getComputedStyle(document.activeElement).outlineStyle") != "none"
    browser.run(f"document.querySelector('{CARD} .plot').focus()")
    slider = f"const p = document.querySelector('{CARD} .plot'); return [p.getAttribute('role'), p.getAttribute('aria-valuetext'), p.ariaLabel]"
    role, text, label = browser.run(slider)
    assert role == "slider" and text.startswith("now: out ") and "queue orders" in label
    wait_until(lambda: browser.press("ArrowLeft") or "5.0 s ago" in browser.run(slider)[1] or browser.press("Home"), 20, "a moment before", 0.1)
    browser.press("End")
    assert browser.run(slider)[1].startswith("now")
    browser.run("document.getElementById('hold').focus()")
    browser.press("Enter")
    assert browser.run("return document.getElementById('hold').getAttribute('aria-pressed')") == "true"
    browser.wait_text("#fresh", "old")
    browser.press("Enter")
    browser.wait_text("#fresh", "live")
    assert browser.run("return document.getElementById('say').getAttribute('role')") == "status"
    assert "queue orders: idle" in browser.run("return document.getElementById('say').textContent")


def test_verdicts(page, daemon, pg, redis_client):
    browser = page(daemon)
    redis_client.lpush("orders", *[order(number) for number in range(5)], bad_order(400))
    wait_shown(browser, f"{CARD} .deaths tbody", "a text too long for its column")
    wait_shown(browser, f"{CARD} .deaths tbody", "22001")
    daemon.signal(signal.SIGUSR1)
    wait_shown(browser, f"{CARD} .chip", "paused")
    wait_shown(browser, f"{CARD} .advice", "sluice resume orders")
    wait_until(lambda: "paused" in browser.run("return document.getElementById('say').textContent"), 10, "the word aloud")
    daemon.signal(signal.SIGUSR2)
    pg.freeze()
    redis_client.lpush("orders", order(6))
    wait_shown(browser, f"{CARD} .advice", "has not answered connection")
    assert browser.run(f"return document.querySelector('{CARD}').className") == "alarm"
    assert browser.run("return document.title").startswith("! orders")
    pg.thaw()
    pg.kill()
    wait_shown(browser, f"{CARD} .advice", "no connection to database shop is open")
    wait_shown(browser, "#pools caption", "0 of 2 connections open")
    pg.start()
    wait_shown(browser, f"{CARD} .chip", "idle")


def test_a_daemon_that_does_not_answer(page, daemon):
    browser = page(daemon)
    assert browser.text("#banner") == ""
    daemon.kill()
    browser.wait_text("#banner", "does not answer")
    browser.wait_text("#fresh", "old")
    assert "orders" in browser.text(CARD), "the last figures stay"
    daemon.start()
    browser.wait_text("#fresh", "live")
    assert browser.text("#banner") == ""


def test_hostile_text_stays_text(page, pg, clean, redis_server, sluice):
    browser = page(sluice(queue_config(redis_server, pg, queue={"table": HOSTILE})))
    browser.wait_text(f"{CARD} .advice", HOSTILE)
    browser.wait_text("#events", HOSTILE)
    assert browser.run("return document.querySelectorAll('img, script:not([nonce])').length") == 0
    assert "owned" not in browser.run("return document.title")


def test_phones_and_colours(page, daemon):
    browser = page(daemon)
    try:
        for width in (320, 768, 1920):
            browser.command("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
            assert browser.run("return document.documentElement.scrollWidth") <= width
        for scheme in ("light", "dark"):
            browser.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            for ink in ("--ink", "--soft", "--ok", "--notice", "--alarm", "--in", "--out", "--dead"):
                for paper in ("--paper", "--panel"):
                    assert browser.run(CONTRAST, ink, paper) >= 4.5, (scheme, ink, paper)
            for wash in ("--notice-wash", "--alarm-wash"):
                assert browser.run(CONTRAST, "--ink", wash) >= 4.5, (scheme, wash)
    finally:
        browser.command("Emulation.clearDeviceMetricsOverride")
        browser.command("Emulation.setEmulatedMedia", features=[])
