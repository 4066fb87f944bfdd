"""The result of a repeat as HTML. All text from outside is escaped."""

from html import escape

from em_hf.answers import grouped, same_answer
from em_hf.compare.repeat import Repeated

SHOWN_SAMPLES, SHOWN_ANSWERS = 8, 10


def report(
    result: Repeated | None,
    *,
    of: int = 0,
    answer: str | None = None,
    prompt: str = "",
    note: str = "",
    busy: bool = False,
    error: bool = False,
) -> str:
    """Return the tables of the results so far, or only the note if there are none."""
    if result is None:
        note = note or "Draws 32 samples with and 32 without EM-INF, and compares their answers."
    elif busy:
        note = f"{result.n} of {of} samples …"
    else:
        note = _sentence(result)
    state = "error" if error else "busy" if busy else ""
    parts = [f'<div class="em-status {state}" role="status">{escape(note)}</div>']
    if prompt:
        parts.append(f'<p class="em-hint">Prompt: {escape(prompt if len(prompt) <= 200 else prompt[:199] + "…")}</p>')
    if result is not None:
        parts += [_right(result), _gain(result), _answers(result, answer), _numbers(result), _samples(result)]
    return f'<div class="em-view" data-state="{state or ("done" if result else "idle")}">{"".join(parts)}</div>'


def _sentence(result: Repeated) -> str:
    """Return the headline: how often each is right, or how many answers differ if no answer is known."""
    rows = (("plain sampling", result.plain), ("EM-INF", result.em))
    if result.plain.accuracy is None and not result.plain.distinct + result.em.distinct:
        return f"None of the {result.n} samples with and without EM-INF gives a final answer."
    if result.plain.accuracy is None:
        said = " and ".join(f"{name} gives {_counted(tally.distinct, 'different answer')}" for name, tally in rows)
    else:
        said = " and ".join(f"{name} is right {_counted(sum(tally.right), 'time')}" for name, tally in rows)
    return f"In {result.n} samples each, from the same random numbers, {said}."


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _right(result: Repeated) -> str:
    """Return bars of the share of right answers, each with its 95% interval as a line."""
    rows = ""
    for name, tally, kind in (("Plain", result.plain, "em-before"), ("EM-INF", result.em, "em-after")):
        if tally.accuracy is None or tally.low is None or tally.high is None:
            return ""
        span = f'<span class="em-span" style="--low:{tally.low:.3f};--high:{tally.high:.3f}"></span>'
        bar = f'<span class="em-bar {kind}" style="--p:{tally.accuracy:.3f}">{span}</span>'
        said = f"{tally.accuracy:.0%} ({tally.low:.0%} to {tally.high:.0%})"
        rows += f"<tr><th>{name}</th><td>{bar}</td><td>{said}</td></tr>"
    heads = "<th></th><th>share of right answers</th><th>95% interval</th>"
    return f'<div class="em-detail"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'


def _numbers(result: Repeated) -> str:
    rows = "".join(
        f"<tr><th>{name}</th><td>{tally.agreement:.0%}</td><td>{tally.distinct}</td></tr>"
        for name, tally in (("Plain", result.plain), ("EM-INF", result.em))
    )
    heads = "<th></th><th>samples with the most frequent answer</th><th>different answers</th>"
    return f'<div class="em-numbers"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'


def _gain(result: Repeated) -> str:
    if result.gain is None:
        return "<p>Give the known answer to see how often each is right.</p>"
    mean, low, high = (100 * value for value in result.gain)
    return f"<p>EM-INF minus plain: {mean:+.0f} points ({low:+.0f} to {high:+.0f}), 95% interval, paired by sample.</p>"


def _answers(result: Repeated, answer: str | None) -> str:
    both = [*result.plain.answers, *result.em.answers]
    named = []
    for group in grouped(both):
        found = group[0][1]
        known = answer is not None and same_answer(answer, found)
        named.append((found[:60] + (" (known)" if known else ""), [place for place, _ in group]))
    if silent := [place for place, found in enumerate(both) if found is None]:
        named.append(("(no answer)", silent))
    named.sort(key=lambda one: -len(one[1]))
    if rest := [place for _, places in named[SHOWN_ANSWERS:] for place in places]:
        named[SHOWN_ANSWERS:] = [(f"{len(named) - SHOWN_ANSWERS} others", rest)]
    rows = ""
    for name, places in named:
        plain = sum(place < result.n for place in places)
        counts = ((plain, "em-before"), (len(places) - plain, "em-after"))
        bars = "".join(_bar(count, result.n, kind) for count, kind in counts)
        rows += f'<tr><td class="em-name">{escape(name)}</td>{bars}</tr>'
    heads = "<th>answer</th><th>plain</th><th>EM-INF</th>"
    return f'<div class="em-detail"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'


def _bar(count: int, n: int, kind: str) -> str:
    return f'<td><span class="em-bar {kind}" style="--p:{count / n:.3f}"><em>{count}</em></span></td>'


def _samples(result: Repeated) -> str:
    pairs = zip(result.plain.texts[:SHOWN_SAMPLES], result.em.texts[:SHOWN_SAMPLES])
    blocks = "".join(
        f"<h3>Sample {i}</h3><pre>{escape(plain.strip())}</pre>"
        + (f"<pre>{escape(em.strip())}</pre>" if em != plain else "<p>EM-INF: the same.</p>")
        for i, (plain, em) in enumerate(pairs)
    )
    return f"<details><summary>The first samples, plain above EM-INF</summary>{blocks}</details>"
