// The view itself: two panes, the chart, the numbers, the distribution of the chosen token, and the way out.
const TWO_MODELS = element.querySelector(".em-view").dataset.kind === "models";
let run = null, selected = null, hovered = null, nearest = () => 0, drawing = false, redrawn = 0, listening = false;
const REDRAW_MS = 250;

const status = make("div", { class: "em-status", role: "status", "aria-live": "polite" });
const panes = [0, 1].map((which) => {
  const text = make("div", {
    class: "em-text", tabindex: "0", role: "group",
    onclick: (event) => event.target.dataset.at && select(which, Number(event.target.dataset.at)),
    onmouseover: (event) => hover(which, event.target.dataset.at),
    onmouseleave: () => hover(which),
    onkeydown: (event) => keys(event, which),
  });
  const title = make("h3", {}), mark = make("span", { class: "em-mark" });
  const head = make("div", { class: "em-head" }, title, mark);
  return { text, title, mark, shown: 0, node: make("section", { class: `em-pane em-row-${which}` }, head, text) };
});
const colours = make("input", { type: "checkbox", checked: "" });
const hidden = make("input", { type: "checkbox" });
const legend = make("div", { class: "em-legend" });
const svg = draw("svg", { class: "em-chart", role: "img", "aria-label": "Entropy of both runs, in nats, by token" });
const numbers = make("div", { class: "em-numbers" });
const detail = make("div", { class: "em-detail", "aria-live": "polite" });
const ways = make("div", { class: "em-ways" });

const top = make("span", {});

function legendOf() {
  const steps = [0, 1, 2, 3, 4, 5].map((i) => make("i", { style: `--nats:${i};--top:5` }));
  const cut = (share) => make("b", { class: "em-adjusted", style: `--cut:${share}` }, "abc");
  const key = TWO_MODELS ? [] : [make("span", {}, cut(0), cut(1), " adjusted by EM-INF a little, a lot")];
  legend.replaceChildren(
    make("span", { class: "em-scale" }, "entropy 0", ...steps, top), ...key,
    make("span", {}, make("b", { class: "em-parting" }, "abc"), " first difference"),
    make("label", {}, colours, " colours"), make("label", {}, hidden, " special tokens"),
  );
}

// Shades are relative to the run: the darkest is its highest entropy.
function rescale() {
  const nats = run ? run.highest() : CAP_NATS;
  element.firstElementChild.style.setProperty("--top", nats.toFixed(3));
  top.textContent = `${nats.toFixed(2)} nats`;
}

function visible(text) {
  return text.replaceAll(" ", "␣").replaceAll("\n", "⏎\n").replaceAll("\t", "⇥\t").replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, (c) =>
    String.fromCodePoint(c === "\u007f" ? 0x2421 : 0x2400 + c.charCodeAt(0)));
}

function span(t, at, which) {
  const node = make("span", { id: `${element.id}-${which}-${at}`, "data-at": at, style: `--nats:${t.after.toFixed(3)}` });
  if (t.adjusted) {
    node.classList.add("em-adjusted");
    node.style.setProperty("--cut", t.before > 0 ? Math.max(0, 1 - t.after / t.before).toFixed(3) : "0");
  }
  if (t.special) node.classList.add("em-special");
  if (at === run.parts) node.classList.add("em-parting");
  node.textContent = hidden.checked ? visible(t.text) || "∅" : t.special ? "" : t.text;
  return node;
}

function grow() {
  panes.forEach((pane, which) => {
    const row = run.row(which);
    const fresh = row.slice(pane.shown).map((t, i) => span(t, pane.shown + i, which));
    pane.text.append(...fresh);
    pane.shown = row.length;
    if (fresh.length && run.live) pane.text.scrollTop = pane.text.scrollHeight;
  });
}

function paint() {
  redrawn = performance.now();
  nearest = chart(svg, run, hovered ?? selected);
  rescale();
  tellNumbers();
}

// While tokens stream in, the chart and the numbers follow a few times a second: on a laptop the page shares the
// processor with the decode.
function redraw() {
  if (drawing) return;
  drawing = true;
  const wait = run && run.live ? Math.max(0, redrawn + REDRAW_MS - performance.now()) : 0;
  setTimeout(() => requestAnimationFrame(() => {
    drawing = false;
    paint();
  }), wait);
}

function rewrite() {
  panes.forEach((pane) => { pane.text.replaceChildren(); pane.shown = 0; });
  if (run) grow();
  mark();
}

const fixed = (value, digits) => (value === null || value === undefined ? "–" : value.toFixed(digits));

function tellNumbers() {
  if (!run || !run.steps.length) return numbers.replaceChildren();
  const cell = (tag, text) => make(tag, {}, text);
  const line = (name, which) => {
    const s = run.summary(which);
    const cells = [cell("th", name), cell("td", String(s.tokens)), cell("td", fixed(s.before, 3))];
    if (!TWO_MODELS) cells.push(cell("td", fixed(s.after, 3)), cell("td", `${fixed(100 * s.adjusted, 0)}%`));
    return make("tr", {}, ...cells);
  };
  const heads = ["", "tokens", TWO_MODELS ? "mean entropy, nats" : "entropy before", ...(TWO_MODELS ? [] : ["after", "adjusted"])];
  const speed = run.speed();
  const where = run.parts === null ? (run.live ? "No difference so far." : "The outputs are identical.") : `First difference: token ${run.parts}.`;
  const facts = [where, `${fixed(speed.perSecond, 1)} steps per second for both panes together.`];
  if (!TWO_MODELS) facts.push(`EM-INF adds ${fixed(speed.addedMs, 2)} ms per step.`);
  numbers.replaceChildren(
    make("table", {}, make("thead", {}, make("tr", {}, ...heads.map((h) => cell("th", h)))), make("tbody", {}, line(run.names[0], 0), line(run.names[1], 1))),
    make("p", {}, facts.join(" ")),
  );
}

function select(which, at) {
  const row = run ? run.row(which) : [];
  if (!row.length) return;
  selected = { which, at: Math.min(row.length - 1, Math.max(0, at)) };
  hovered = null;
  mark();
  redraw();
}

function hover(which, at) {
  const next = at === undefined || !run ? null : { which, at: Number(at) };
  if (next === hovered || (next && hovered && next.which === hovered.which && next.at === hovered.at)) return;
  hovered = next;
  if (hovered ?? selected) distribution();
  else mark();
}

function mark() {
  element.querySelectorAll(".em-selected").forEach((node) => node.classList.remove("em-selected"));
  if (!selected || !run) return detail.replaceChildren(make("p", { class: "em-hint" }, "Point at a token, click it or use the arrow keys to see the probabilities it was drawn from."));
  panes.forEach((pane, which) => {
    const node = pane.text.children[selected.at];
    if (node) node.classList.add("em-selected");
    if (which === selected.which && node) {
      pane.text.setAttribute("aria-activedescendant", node.id);
      const [top, bottom] = [node.offsetTop - pane.text.offsetTop, node.offsetTop - pane.text.offsetTop + node.offsetHeight];
      if (top < pane.text.scrollTop || bottom > pane.text.scrollTop + pane.text.clientHeight) pane.text.scrollTop = top - 20;
    }
  });
  distribution();
}

function keys(event, which) {
  const move = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 10, ArrowUp: -10, Home: -1e9, End: 1e9 }[event.key];
  if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  select(which, (selected && selected.which === which ? selected.at : move > 0 ? -1 : 0) + move);
}

function leftAlone(t, plain) {
  if (plain) return "plain sampling";
  if (!run.settings.entropy_min) return "EM-INF is off";
  return t.before < run.settings.threshold ? "below the threshold, so EM-INF left it alone" : "EM-INF left it alone";
}

// What a token was drawn from: before EM-INF and, where it acted, after. Up to the first difference both panes have the
// same distribution, so one table shows which token each of them drew.
function distribution() {
  const { which, at } = hovered ?? selected;
  const own = run.row(which)[at];
  if (!own) return detail.replaceChildren();
  const other = run.row(1 - which)[at];
  const shared = !TWO_MODELS && other && (run.parts === null || at <= run.parts);
  const t = shared ? run.row(1)[at] : own;
  const drew = shared ? run.names.map((name, i) => [name, run.row(i)[at].id]) : [["drawn", own.id]];
  const list = t.candidates.map(([id, text, before, after]) => ({ id, text, before, after: after ?? before }));
  for (const [id, text, before] of shared ? run.row(0)[at].candidates : [])
    if (drew.some((one) => one[1] === id) && !list.some((c) => c.id === id)) list.push({ id, text, before, after: null });
  const shown = list.filter((c, i) => i < SHOWN || drew.some((one) => one[1] === c.id));
  const bar = (p, kind) => make("td", {}, p === null ? "–" : make("span", { class: `em-bar ${kind}`, style: `--p:${p}` },
    make("em", {}, p >= 0.0005 || p === 0 ? `${(100 * p).toFixed(1)}%` : "<0.1%")));
  const rows = shown.map((c) => {
    const by = drew.filter((one) => one[1] === c.id).map((one) => one[0]);
    return make("tr", { class: by.length ? "em-drawn" : "" },
      make("td", { class: "em-name" }, visible(c.text) || "∅", by.length ? make("small", {}, ` ${by.join(", ")}`) : ""),
      bar(c.before, "em-before"), ...(t.adjusted ? [bar(c.after, "em-after")] : []));
  });
  const why = t.adjusted
    ? `${t.before.toFixed(3)} nats before EM-INF, ${t.after.toFixed(3)} nats after`
    : `${t.before.toFixed(3)} nats; ${leftAlone(t, TWO_MODELS || (!shared && which === 0))}`;
  const warm = run.settings.temperature !== 0 && run.settings.temperature !== 1 ? "; probabilities at temperature 1" : "";
  const heads = ["token", ...(t.adjusted ? ["before", "after"] : ["probability"])];
  detail.replaceChildren(
    make("h3", {}, `${run.names[which]}, token ${at}: `, make("code", {}, visible(own.text) || "∅")),
    make("p", {}, why + warm),
    make("table", {}, make("thead", {}, make("tr", {}, ...heads.map((h) => make("th", {}, h)))), make("tbody", {}, ...rows)),
  );
}

function waysOut() {
  const button = (name, act, key) => make("button", { type: "button", class: "em-button", "data-export": key, onclick: async (event) => {
    await act();
    const node = event.currentTarget ?? event.target;
    if (key.startsWith("copy")) { node.textContent = "Copied"; setTimeout(() => (node.textContent = name), 1500); }
  } }, name);
  const file = `em-inf-seed-${run.settings.seed}`;
  const list = [
    button("JSON", () => save(`${file}.json`, new Blob([asJson(run)], { type: "application/json" })), "json"),
    button("CSV", () => save(`${file}.csv`, new Blob([asCsv(run)], { type: "text/csv" })), "csv"),
    button("Chart as PNG", () => savePng(svg, `${file}.png`), "png"),
    ...(TWO_MODELS ? [] : [button("Copy link", () => copyText(location.origin + address(run)), "copy-link")]),
  ];
  const blocks = [["Python", run.python, "copy-python"], ["Command line", run.command, "copy-command"]].filter(([, text]) => text).map(([name, text, key]) =>
    make("details", {}, make("summary", {}, `${name}`), button("Copy", () => copyText(text), key), make("pre", {}, text)));
  ways.replaceChildren(make("details", { class: "em-save" }, make("summary", {}, "Save or reproduce this run"), make("div", { class: "em-buttons" }, ...list), ...blocks));
}

function say(text, kind = "") {
  status.className = `em-status ${kind}${kind === "busy" && !(run && run.live) ? " em-waiting" : ""}`;
  status.textContent = text;
  element.firstElementChild.dataset.state = kind || "idle";
}

function begin(message) {
  run = new Run(message);
  run.live = true;
  selected = hovered = null;
  panes.forEach((pane, which) => {
    pane.title.textContent = run.names[which];
    markPane(pane, "");
    pane.text.setAttribute("aria-label", `${run.names[which]}: tokens; arrow keys choose one`);
  });
  rewrite();
  ways.replaceChildren();
  if (!TWO_MODELS && message.kind === "start") history.replaceState(null, "", address(run));
}

function markPane(pane, word) {
  pane.mark.textContent = { right: "✓ right", wrong: "✗ wrong" }[word] ?? "";
  pane.mark.className = `em-mark ${word}`;
}

function finish(kind, text) {
  if (kind === "error" && run && !run.live) { // it never began: what an earlier one left is not its result
    run = selected = null;
    rewrite();
    panes.forEach((pane) => markPane(pane, ""));
    ways.replaceChildren();
    paint();
  }
  if (!run) return say(text, kind);
  run.live = false;
  rewrite();
  if (run.steps.length) {
    waysOut();
    if (run.parts !== null && !selected) select(1, Math.min(run.parts, run.row(1).length - 1));
  }
  paint(); // not a frame later: what is done or stopped can be saved
  say(text, kind);
}

function conclude(message) {
  finish("done", run.note || message.verdict.sentence);
  panes.forEach((pane, which) => markPane(pane, message.verdict.marks[which]));
}

// From the moment the button is pressed until the decode is stopped or has failed.
function receive(message) {
  if (message.kind === "example") {
    if (run || location.search.includes("prompt=")) return;
    begin(message);
    run.take(message);
    return conclude(message);
  }
  if (!listening) return;
  if (message.kind === "start") begin(message), say(message.note || "Decoding …", "busy");
  else if (message.kind === "error") finish("error", message.message);
  else if (run && run.run === message.run && run.live) {
    const news = run.take(message);
    if (message.kind === "done") conclude(message);
    else if (news) grow(), redraw();
  }
}

element.querySelector(".em-view").append(
  status, make("div", { class: "em-panes" }, ...panes.map((pane) => pane.node)), legend,
  make("div", { class: "em-lower" }, make("div", { class: "em-figure" }, svg, numbers), detail), ways);
const names = TWO_MODELS ? ["Base", "Trained"] : ["Plain", "EM-INF"];
panes.forEach((pane, which) => (pane.title.textContent = names[which]));
legendOf();
say("Type a prompt or take an example, then press Generate.");
mark();
redraw();
colours.addEventListener("change", () => element.firstElementChild.classList.toggle("em-plain-colours", !colours.checked));
hidden.addEventListener("change", rewrite);
svg.addEventListener("click", (event) => select(selected ? selected.which : 1, nearest(event.clientX)));
new ResizeObserver(redraw).observe(svg);
new MutationObserver(redraw).observe(document.body, { attributes: true, attributeFilter: ["class"] });
const told = (name, act) => window.addEventListener(name, (event) => event.detail === element.firstElementChild.dataset.kind && act());
told("em-waiting", () => { listening = true; say("Waiting for the model …", "busy"); });
told("em-stopped", () => {
  if (listening && status.classList.contains("busy")) finish("stopped", `Stopped after ${run && run.live ? run.steps.length : 0} tokens.`);
  listening = false;
});
told("em-failed", () => {
  if (listening) finish("error", "The server gave no answer: it is too busy, or failed. Try again.");
  listening = false;
});
watch("value", () => props.value && receive(JSON.parse(props.value)));
if (props.value) receive(JSON.parse(props.value));
