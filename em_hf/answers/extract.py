"""The final answer in a text that a model or the author of a dataset wrote."""

import re

_OPEN_BOX = r"\\(?:boxed|fbox|framebox)(?![A-Za-z])\s*+"
_BOX_OR_BRACE = re.compile(_OPEN_BOX + r"\{|\\.|[{}]", re.DOTALL)
# A box without braces goes to the end of its formula, else to the next space.
_BARE_BOX = re.compile(_OPEN_BOX + r"(?!\{)(?:([^$\n]{0,200}?)\s*\$|([^\s$]{1,200}))")
_HASHES = re.compile(r"#{4,}")

_EMPHASIS = re.compile(r"^(__|`)\s*(.*?)\s*\1[.!]?$")
_BOLD = re.compile(r"\*\*(?![0-9])|(?<![0-9])\*\*")  # 2**3 is a power
_LABEL = re.compile(r"^[A-Za-z, ]*?\banswer\s*(?:is\s*:?|[:=])\s*(?=\S)", re.IGNORECASE)
_NEXT_QUESTION = re.compile(r"(?:question|problem|q)\b", re.IGNORECASE)
# Headings that may hold the answer themselves: "Result: 18"
_OUTCOME = r"final\s+answer|answer|results?|solution|conclusion"
_HEADING = re.compile(
    rf"(?:{_OUTCOME}|step|working|work|explanation|calculat\w+|given|part|case|verif\w+|check\w*"
    r"|note|notes|summary|method|approach|reasoning|analysis|problem|question|example|hint|proof|introduction|understand\w*"
    r"|setup|plan|overview|thought|thoughts|breakdown|computation|derivation|strategy|definition|observation"
    r"|interpretation|evaluation|answer\s+the\s+question|known|unknown|details|background|context|recap|alternative|remark)"
    r"(?![A-Za-z])",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"(?:\(?[a-z]\)|\(?[0-9]+[.)]|[ivx]+[.)])\s+[A-Za-z]")
_ANSWER_HEADING = re.compile(r"(?:the\s+)?(?:final\s+)?answer\s*:?", re.IGNORECASE)
_SHORT = r"(?=\S*[0-9\\])\S++(?:\s+\S++){0,3}"
_SHORT_ANSWER = re.compile(_SHORT)
_OUTCOME_LINE = re.compile(
    rf"((?:the\s+)?(?:{_OUTCOME})\s*(?:[:=]|is\b:?)\s*)(?:[A-Za-z]\s*=\s*)?{_SHORT}", re.IGNORECASE
)
# "Total cost: $18", but no sum: "Check: 18-5=13" is none
_AMOUNT_LINE = re.compile(
    r"[^\W\d_]++(?:[ '-][^\W\d_]++)*+ ?[:=]\s*+"
    r"[-+$€£\\]*[0-9][0-9,.]*(?:/[0-9]+)?\s*\\?[%$€£]?(?:\s+[^\W\d_]++){0,3}\.?"
)


def extract_answer(text: str) -> str | None:
    r"""Return the final answer in `text`: what the last complete `\boxed{}` holds, else what follows the last `####`.

    `\fbox{}`, and a box without braces (`\boxed 2`), count as boxes. Braces may be nested, and escaped braces do
    not count. After `####` the answer extends to the end of the line, without Markdown emphasis and words such as
    `Answer:`; a Markdown heading (`#### Step 2: add`) is not an answer. An empty box, or nothing after `####`, counts
    as none.

    Args:
        text: a completion, or the solution that a dataset gives.

    Returns:
        The answer in the wording of `text`, or None if it gives none.

    Example:
        >>> extract_answer(r"so $x = \boxed{\frac{1}{2}}$.")
        '\\frac{1}{2}'
        >>> extract_answer("7 + 5 = 12\n#### **12**")
        '12'
    """
    return _last_box(text) or _after_hashes(text)


def _last_box(text: str) -> str | None:
    open_braces: list[re.Match[str]] = []
    last, last_start = None, -1
    for found in _BOX_OR_BRACE.finditer(text):
        if found[0].endswith("{") and found[0] != r"\{":
            open_braces.append(found)
        elif found[0] == "}" and open_braces:
            opened = open_braces.pop()
            content = text[opened.end() : found.start()].strip()
            if opened[0] != "{" and content and opened.start() > last_start:
                last, last_start = content, opened.start()
    for bare in _BARE_BOX.finditer(text, last_start + 1):
        content = (bare[1] or (bare[2] or "").rstrip(".,;:)}")).strip()
        if content and bare.start() > last_start:
            last, last_start = content, bare.start()
    return last


def _after_hashes(text: str) -> str | None:
    parts = _HASHES.split(text)[1:]
    for part in reversed(parts):
        line, _, rest = part.partition("\n")
        line = _without_emphasis(line.strip())
        if _ANSWER_HEADING.fullmatch(line):
            below, _, more = rest.strip().partition("\n")
            below = _without_emphasis(below.strip())
            if _SHORT_ANSWER.fullmatch(below) or (below and not more and len(below.split()) < 4):
                return below
        elif found := _OUTCOME_LINE.fullmatch(line):
            return _without_emphasis(line[found.end(1) :])
        elif answer := _without_emphasis(_LABEL.sub("", line)):
            if answer != line or not _is_heading(line, rest.strip()):
                return answer
    return None


def _without_emphasis(line: str) -> str:
    line = _BOLD.sub("", line).strip()
    while found := _EMPHASIS.match(line):
        line = found[2]
    return line.rstrip(".") if line[:-1].replace(",", "").replace(".", "").isdecimal() else line


def _is_heading(line: str, below: str) -> bool:
    """Return whether a line after hashes opens a section of the text instead of giving the answer."""
    if line.endswith(":") or _HEADING.match(line):
        return True
    if _AMOUNT_LINE.fullmatch(line):
        return False
    if not below or not line[0].isalpha():
        return bool(below and _NUMBERED.match(line))
    words = line.split()
    asks_next = _NEXT_QUESTION.match(below)
    return bool(_NUMBERED.match(line)) or len(words) > 2 or (not asks_next and (len(words) > 1 or line.endswith("ing")))
