"""Texts that would do harm where they are not shown as text, and what a reader of a page sees of one."""

from html.parser import HTMLParser

RUN = "window.ran = true"
TEXTS = {
    "script": f"<script>{RUN}</script>",
    "handler": f"<img src=x onerror='{RUN}'>",
    "attribute": f'" onmouseover="{RUN}" autofocus onfocus=\'{RUN}\'',
    "end of the partial": f"</hx-partial></hx-upsert><hx-partial hx-target='#main'><script>{RUN}</script>",
    "another target": "<tr id='change-1' hx-swap-oob='true'></tr><hx-upsert hx-target='#tiles'><i>x</i></hx-upsert>",
    "htmx attributes": f"<i hx-get='/logout' hx-trigger='load' hx-on:click='{RUN}'>x</i>",
    "end of the frame": "a\n\ndata: <i>forged</i>\nid: 999999\nevent: reset\n\n",
    "carriage returns": "a\r\rid: 999999\r\revent: bye\rdata: {}\r\r\r\nb",
    "nul": "a\x00b <scr\x00ipt> ␀",
    "separators": "a\u2028b\u2029c\u0085d\ufeffe",
    "directions": "\u202edesrever\u2066 \u200d",
    "template": "{{ 7 * 7 }} {% raw %} ${7 * 7}",
    "closed": "</td></tr></table></main></body></html><!-- ",
    "entities": "&lt;b&gt; &amp;amp; &#60;",
}
# Texts that no publisher may send, but that a service can answer with.
UNPUBLISHED_TEXTS = {
    "surrogate": "a\ud83db<i>lone</i>\udc00",
    "formula": '=HYPERLINK("https://elsewhere.invalid/?"&A1,"see")',
    "hidden formula": "\u200b\t@SUM(1+1)*cmd|' /C calc'!A0",
    "formula in the next cell": "a;=1+1\n+2\r-3",
    "megabyte": "<i>" + "m" * 1_000_000,
}
ALL_TEXTS = TEXTS | UNPUBLISHED_TEXTS

_NEVER_ON_A_PAGE = {"i", "img", "iframe"}
_READ_ATTRIBUTES = {"title", "value", "aria-label"}


class ShownPage(HTMLParser):
    """What a browser makes of a page: its text, and `harm`, what came out of a text and not out of a template."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.harm: list[str] = []
        self._is_script = self._is_over = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has_handler = any(name.startswith(("on", "hx-on", "hx-swap-oob")) for name, _ in attrs)
        if has_handler or tag in _NEVER_ON_A_PAGE or ("hx-get", "/logout") in attrs or self._is_over:
            self.harm.append(self.get_starttag_text() or tag)
        self._is_script = tag == "script"
        self.text += "".join(value for name, value in attrs if value and name in _READ_ATTRIBUTES)

    def handle_endtag(self, tag: str) -> None:
        self._is_script = False
        self._is_over = self._is_over or tag == "html"

    def handle_comment(self, data: str) -> None:
        self.harm.append(f"<!--{data}")

    def handle_data(self, data: str) -> None:
        if self._is_script and data.strip():
            self.harm.append(data)
        self.text += data


def essence(text: str) -> str:
    """What is left of a text where white space is joined and what cannot be stored or shown is replaced."""
    return "".join(sign for sign in text if "!" <= sign <= "~" and sign != "?")
