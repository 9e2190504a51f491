"""Checks from outside, through the proxy, that Beacon knows the address that browsers use."""

import re
from urllib.parse import urlsplit

import requests

TIMEOUT_S = 10.0
_TOKEN = re.compile(r'name="csrf_token"[^>]{0,200}value="([^"]+)"')


def check_address(url: str) -> tuple[bool, str]:
    """Fetch the login page as a browser would and send a form that changes nothing; return the result and a text."""
    base = url.rstrip("/")
    try:
        with requests.Session() as browser:
            return _check_login_page(browser, base)
    except requests.exceptions.SSLError as error:
        return (
            False,
            f"{base} has no certificate that this machine trusts ({_summarize(error)}); REQUESTS_CA_BUNDLE names one",
        )
    except (requests.RequestException, ValueError) as error:
        return False, f"{base} cannot be reached from here: {_summarize(error)}"


def _check_login_page(browser: requests.Session, base: str) -> tuple[bool, str]:
    page = browser.get(f"{base}/login", timeout=TIMEOUT_S)
    token = _TOKEN.search(page.text)
    if page.status_code != 200 or token is None:
        return False, f"{base}/login answers {page.status_code} without Beacon's login form; is that Beacon's address?"
    if base.startswith("https:") and not any(cookie.secure for cookie in browser.cookies):
        lacking = f"Beacon does not know that {base} uses TLS, so its cookies are not Secure"
        advice = "add the proxy's address to BEACON_TRUSTED_PROXIES and make it send X-Forwarded-Proto"
        return False, f"{lacking}: {advice} (nginx: proxy_set_header X-Forwarded-Proto $scheme)"
    # Nobody is logged in, so this logout ends nothing.
    parts = urlsplit(base)
    headers = {"Origin": f"{parts.scheme}://{parts.netloc}", "Referer": f"{base}/login", "Accept": "application/json"}
    form = {"csrf_token": token[1]}
    sent = browser.post(f"{base}/logout", form, headers=headers, timeout=TIMEOUT_S, allow_redirects=False)
    if sent.status_code == 303:
        return True, f"{base} is the address that Beacon sees; forms and logins work there"
    return False, f"{base} refuses its own form ({sent.status_code}): {_problem_detail(sent)}"


def _problem_detail(sent: requests.Response) -> str:
    try:
        return str(sent.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return "no reason was given"


def _summarize(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
