// The browser's half of the view: what has come so far, and the numbers drawn from it. No data ever becomes markup.
const SVG = "http://www.w3.org/2000/svg";
const CAP_NATS = 3;
const SHOWN = 7; // candidates of the chosen token

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function draw(tag, attributes = {}, text = "") {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text) node.textContent = text;
  return node;
}

// A row of a step as the server sends it; null where the row has ended.
const token = (row) =>
  row && { id: row[0], text: row[1], special: row[2], before: row[3], after: row[4], adjusted: row[5], candidates: row[6] };

class Run {
  constructor(head) {
    Object.assign(this, head); // run, names, settings, greedy, python, command
    this.steps = [];
    this.parts = null;
    this.gap = false;
  }

  // A message repeats some steps that came before, since a busy browser may have missed one; true when there is news.
  take(message) {
    if (message.from > this.steps.length) {
      this.gap = true; // the last message has all
      return false;
    }
    const fresh = message.steps.slice(this.steps.length - message.from);
    for (const [seconds, ms, ...rows] of fresh) {
      const step = { seconds, ms, rows: rows.map(token) };
      const ids = step.rows.map((row) => row && row.id);
      if (this.parts === null && ids[0] !== ids[1]) this.parts = this.steps.length;
      this.steps.push(step);
    }
    return fresh.length > 0;
  }

  row(which) {
    return this.steps.map((step) => step.rows[which]).filter(Boolean);
  }

  // The highest entropy a token was drawn from, at least a tenth of a nat, so that a sure run stays pale.
  highest() {
    return Math.max(0.1, ...this.steps.flatMap((step) => step.rows.map((row) => (row ? row.after : 0))));
  }

  // Nats of the distribution a row's tokens were drawn from, share of adjusted steps, tokens.
  summary(which) {
    const row = this.row(which);
    const mean = (values) => (values.length ? values.reduce((a, b) => a + b, 0) / values.length : null);
    return {
      tokens: row.length,
      before: mean(row.map((t) => t.before)),
      after: mean(row.map((t) => t.after)),
      adjusted: mean(row.map((t) => (t.adjusted ? 1 : 0))),
    };
  }

  speed() {
    const count = this.steps.length;
    const ms = this.steps.reduce((sum, step) => sum + step.ms, 0);
    return {
      perSecond: count ? count / this.steps[count - 1].seconds : null,
      addedMs: count ? ms / count : null,
    };
  }
}
