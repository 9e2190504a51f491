"""Checks from outside: Beacon knows the address that browsers use, and the proxy passes everything on as it should."""

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

import requests

from app.cli import outside_stream
from app.cli.finding import Finding
from app.cli.outside_stream import build_tls_context

TIMEOUT_S = 10.0
_TOKEN = re.compile(r'name="csrf_token"[^>]{0,200}value="([^"]+)"')
_SHEET = re.compile(r'<link rel="stylesheet" href="([^"]+)"')
FORGED_PREFIX, FORGED_HOST = "/made-up-by-doctor", "made-up-by-doctor.invalid"
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class LoginPage:
    """Beacon's login page as it came through the proxy, and the form token in it."""

    base: str
    text: str
    token: str
    headers: requests.structures.CaseInsensitiveDict[str]
    cookies_are_secure: bool

    @property
    def parts(self) -> SplitResult:
        return urlsplit(self.base)

    @property
    def is_https(self) -> bool:
        return self.parts.scheme == "https"


def check_from_outside(url: str, token: str, watch_s: float) -> Iterator[Finding]:
    """Fetch the login page as a browser would, submit a form that changes nothing, and read a stream for a while."""
    base = url.rstrip("/")
    try:
        with requests.Session() as browser:
            page = _fetch_login_page(browser, base)
            if isinstance(page, Finding):
                yield page
                return
            yield from _check_pages(browser, page)
        yield outside_stream.check_stream(page.base, token, watch_s)
    except requests.exceptions.SSLError as error:
        named = "REQUESTS_CA_BUNDLE names one"
        text = f"{base} has no certificate that this machine trusts ({_summarize(error)}); {named}"
        yield Finding("outside", False, text)
    except (OSError, ValueError) as error:  # requests' own are OSErrors
        yield Finding("outside", False, f"{base} cannot be reached from here: {_summarize(error)}")


def _check_pages(browser: requests.Session, page: LoginPage) -> Iterator[Finding]:
    yield _check_own_address(browser, page)
    yield _check_prefix(browser, page)
    yield _check_tls(page)
    yield _check_forged(page)
    if page.is_https:
        yield _check_protocol(page.parts)


def _fetch_login_page(browser: requests.Session, base: str, **headers: str) -> LoginPage | Finding:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = browser.get(f"{base}/login", headers=sent, timeout=TIMEOUT_S)
    token = _TOKEN.search(answer.text)
    if answer.status_code == 200 and token is not None:
        is_secure = any(cookie.secure for cookie in browser.cookies)
        return LoginPage(_find_base(base, answer.url), answer.text, token[1], answer.headers, is_secure)
    text = f"{base}/login answers {answer.status_code} without Beacon's login form; is that Beacon's address?"
    if answer.status_code in (502, 503, 504):
        text = f"{base}/login answers {answer.status_code}: the proxy cannot reach Beacon; is it running, and where?"
    return Finding("outside", False, text)


def _find_base(asked: str, landed: str) -> str:
    """The address to check, if the proxy redirected from http to https: forms are not redirected."""
    base = landed.partition("?")[0].removesuffix("/login")
    old, new = urlsplit(asked), urlsplit(base)
    return base if (old.hostname, old.path) == (new.hostname, new.path) else asked


def _check_own_address(browser: requests.Session, page: LoginPage) -> Finding:
    if page.is_https and not page.cookies_are_secure:
        lacking = f"Beacon does not know that {page.base} uses TLS, so its cookies are not Secure"
        advice = "add the proxy's address to BEACON_TRUSTED_PROXIES and make it send X-Forwarded-Proto"
        example = "(nginx: proxy_set_header X-Forwarded-Proto $scheme)"
        return Finding("outside", False, f"{lacking}: {advice} {example}")
    sent = _send_logout(browser, page)
    if sent.status_code == 303:
        return Finding("outside", True, f"{page.base} is the address that Beacon sees; forms and logins work")
    return Finding("outside", False, f"{page.base} refuses its own form ({sent.status_code}): {_problem_detail(sent)}")


def _send_logout(browser: requests.Session, page: LoginPage, **forged: str) -> requests.Response:
    """Submit a form of the page. Nobody is logged in, so this logout ends nothing."""
    origin = f"{page.parts.scheme}://{page.parts.netloc}"
    headers = {"Origin": origin, "Referer": f"{page.base}/login", "Accept": "application/json"}
    headers |= {name.replace("_", "-"): value for name, value in forged.items()}
    form = {"csrf_token": page.token}
    return browser.post(f"{page.base}/logout", form, headers=headers, timeout=TIMEOUT_S, allow_redirects=False)


def _check_prefix(browser: requests.Session, page: LoginPage) -> Finding:
    """Check that the addresses in a page lead back through the proxy."""
    path = page.parts.path
    sheet = _SHEET.search(page.text)
    if sheet is None or not sheet[1].startswith(f"{path}/static/"):
        wrong = f"pages name addresses like {sheet[1] if sheet else '?'}, which are not below {page.base}"
        want = f"make the proxy send X-Forwarded-Prefix: {path}" if path else "the proxy must not send a prefix"
        also = f", or set BEACON_PATH_PREFIX={path}" if path else "; unset BEACON_PATH_PREFIX"
        trust = "; the proxy's address must be in BEACON_TRUSTED_PROXIES" if path else ""
        return Finding("prefix", False, f"{wrong}: {want}{also}{trust}")
    answer = browser.get(f"{page.parts.scheme}://{page.parts.netloc}{sheet[1]}", timeout=TIMEOUT_S)
    if not answer.headers.get("Content-Type", "").startswith("text/css"):
        text = f"{sheet[1]} answers {answer.status_code}: pass everything below {path or '/'} on to Beacon"
        return Finding("prefix", False, text)
    return Finding("prefix", True, f"the addresses in pages are below {path or '/'}, and style sheets load")


def _check_tls(page: LoginPage) -> Finding:
    if not page.is_https:
        if page.parts.hostname in LOOPBACK:
            return Finding("tls", True, "none, which is fine on this machine only")
        risk = "passwords can be read on the way, and each visible tab opens a stream of its own"
        return Finding("tls", False, f"none: {risk}; let the proxy end TLS, and redirect http to https")
    if page.cookies_are_secure and "Strict-Transport-Security" not in page.headers:
        text = "the proxy removes Strict-Transport-Security, which Beacon sends; let it pass"
        return Finding("tls", False, text)
    if not page.cookies_are_secure:
        text = "the certificate is fine, but cookies are not Secure and HSTS is not sent: see outside, above"
        return Finding("tls", False, text)
    return Finding("tls", True, "the certificate is trusted, cookies are Secure, and HSTS is sent")


def _check_forged(page: LoginPage) -> Finding:
    """Send forged headers, as any client could. Whether `X-Forwarded-For` counts cannot be seen from outside."""
    forged = {"X_Forwarded_Prefix": FORGED_PREFIX, "X_Forwarded_Proto": "http" if page.is_https else "https"}
    with requests.Session() as stranger:
        got = _fetch_login_page(stranger, page.base, **forged)
        sent = _send_logout(stranger, got, X_Forwarded_Host=FORGED_HOST) if isinstance(got, LoginPage) else None
    found = []
    if isinstance(got, LoginPage):
        found += ["X-Forwarded-Prefix"] if FORGED_PREFIX in got.text else []
        found += ["X-Forwarded-Proto"] if got.cookies_are_secure != page.cookies_are_secure else []
    if sent is not None and FORGED_HOST in sent.text:
        found.append("X-Forwarded-Host")
    if not found:
        return Finding("forwarded", True, "what clients send as X-Forwarded-Proto, -Host and -Prefix does not count")
    lines = " ".join(f"proxy_set_header {name} {_own_value(name, page.parts.path)};" for name in found)
    advice = f"make it set or remove them (nginx: {lines})"
    if found == ["X-Forwarded-Prefix"]:
        harmless = "the proxy passes on what clients send as X-Forwarded-Prefix, which changes only their own pages"
        return Finding("forwarded", True, f"{harmless}; to be strict, {advice}")
    return Finding("forwarded", False, f"the proxy passes on what clients send as {', '.join(found)}: {advice}")


def _own_value(header: str, path: str) -> str:
    return {"X-Forwarded-Proto": "$scheme", "X-Forwarded-Host": "$http_host"}.get(header, path or '""')


def _check_protocol(parts: SplitResult) -> Finding:
    context = build_tls_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    address = (parts.hostname or "", parts.port or 443)
    with (
        socket.create_connection(address, TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=parts.hostname) as secured,
    ):
        chosen = secured.selected_alpn_protocol()
    if chosen == "h2":
        return Finding("protocol", True, "HTTP/2: streams and pages share one connection")
    limit = "a browser opens six connections to a host at most, and its stream takes one of them"
    return Finding("protocol", False, f"HTTP/1.1: {limit}; switch HTTP/2 on (nginx: http2 on, or listen … ssl http2)")


def _problem_detail(sent: requests.Response) -> str:
    try:
        return str(sent.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return "no reason was given"


def _summarize(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
