// The view itself: two panes, the chart, the numbers, the distribution of the chosen token, and the way out.
const TWO_MODELS = element.querySelector(".em-view").dataset.kind === "models";
let run = null, selected = null, nearest = () => 0, drawing = false, listening = false;

const status = make("div", { class: "em-status", role: "status", "aria-live": "polite" });
const panes = [0, 1].map((which) => {
  const text = make("div", {
    class: "em-text", tabindex: "0", role: "group",
    onclick: (event) => event.target.dataset.at && select(which, Number(event.target.dataset.at)),
    onkeydown: (event) => keys(event, which),
  });
  const title = make("h3", {});
  return { text, title, shown: 0, node: make("section", { class: `em-pane em-row-${which}` }, title, text) };
});
const colours = make("input", { type: "checkbox", checked: "" });
const hidden = make("input", { type: "checkbox" });
const legend = make("div", { class: "em-legend" });
const svg = draw("svg", { class: "em-chart", role: "img", "aria-label": "Entropy of both runs, in nats, by token" });
const numbers = make("div", { class: "em-numbers" });
const detail = make("div", { class: "em-detail", "aria-live": "polite" });
const ways = make("div", { class: "em-ways" });

function legendOf() {
  const steps = [0, 0.5, 1, 1.5, 2, 2.5, 3].map((nats) => make("i", { style: `--shade:${shade(nats)}` }));
  const key = TWO_MODELS ? [] : [make("span", {}, make("b", { class: "em-adjusted" }, "abc"), " adjusted by EM-INF")];
  legend.replaceChildren(
    make("span", { class: "em-scale" }, "0", ...steps, `${CAP_NATS} nats and more`), ...key,
    make("span", {}, make("b", { class: "em-parting" }, "abc"), " first token that differs"),
    make("label", {}, colours, " colours"), make("label", {}, hidden, " spaces and special tokens"),
  );
}

const shade = (nats) => Math.min(1, Math.max(0, nats) / CAP_NATS).toFixed(3);

function visible(text) {
  return text.replaceAll(" ", "␣").replaceAll("\n", "⏎\n").replaceAll("\t", "⇥\t").replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, (c) =>
    String.fromCodePoint(c === "\u007f" ? 0x2421 : 0x2400 + c.charCodeAt(0)));
}

function span(t, at, which) {
  const node = make("span", { id: `${element.id}-${which}-${at}`, "data-at": at, style: `--shade:${shade(t.after)}` });
  if (t.adjusted) node.classList.add("em-adjusted");
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

function redraw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    nearest = chart(svg, run, selected);
    tellNumbers();
  });
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
  const where = run.parts === null ? (run.live ? "not so far" : "nowhere: both are the same") : `at token ${run.parts}`;
  const facts = [`They part ${where}.`, `${fixed(speed.perSecond, 1)} steps a second, both rows together.`];
  if (!TWO_MODELS) facts.push(`EM-INF adds ${fixed(speed.addedMs, 2)} ms a step.`);
  numbers.replaceChildren(
    make("table", {}, make("thead", {}, make("tr", {}, ...heads.map((h) => cell("th", h)))), make("tbody", {}, line(run.names[0], 0), line(run.names[1], 1))),
    make("p", {}, facts.join(" ")),
  );
}

function select(which, at) {
  const row = run ? run.row(which) : [];
  if (!row.length) return;
  selected = { which, at: Math.min(row.length - 1, Math.max(0, at)) };
  mark();
  redraw();
}

function mark() {
  element.querySelectorAll(".em-selected").forEach((node) => node.classList.remove("em-selected"));
  if (!selected || !run) return detail.replaceChildren(make("p", { class: "em-hint" }, "Choose a token, by click or arrow keys, to see what it was drawn from."));
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

// Ranks before and after within what was sent, which holds the first ten of both; further down a rank is not known.
function distribution() {
  const t = run.row(selected.which)[selected.at];
  if (!t) return detail.replaceChildren();
  const list = t.candidates.map(([id, text, before, after]) => ({ id, text, before, after: after ?? before }));
  const order = [...list].sort((a, b) => b.before - a.before);
  const rows = list.map((c, i) => {
    const was = order.indexOf(c), moved = was - i;
    const known = was < 10 && i < 10;
    const change = t.adjusted && known && moved ? (moved > 0 ? `▲${moved}` : `▼${-moved}`) : "";
    const bar = (p, kind) => make("span", { class: `em-bar ${kind}`, style: `--p:${p}` }, make("em", {}, p >= 0.0005 || p === 0 ? `${(100 * p).toFixed(1)}%` : "<0.1%"));
    return make("tr", { class: c.id === t.id ? "em-drawn" : "" },
      make("td", { class: "em-name" }, visible(c.text) || "∅", c.id === t.id ? make("small", {}, " drawn") : ""),
      make("td", {}, bar(c.before, "em-before")), ...(t.adjusted ? [make("td", {}, bar(c.after, "em-after"))] : []),
      make("td", { class: "em-change" }, change));
  });
  const change = t.adjusted
    ? `${t.before.toFixed(3)} nats before, ${t.after.toFixed(3)} after`
    : `${t.before.toFixed(3)} nats; ` + (TWO_MODELS ? "plain sampling" : selected.which === 0 ? "plain: not adjusted" : run.settings.entropy_min ? "below the threshold: not adjusted" : "EM-INF is off");
  const swaps = rows.some((row) => row.lastChild.textContent);
  const heads = ["token", ...(t.adjusted ? ["before", "after"] : ["probability"]), ""];
  detail.replaceChildren(
    make("h3", {}, `${run.names[selected.which]}, token ${selected.at}: `, make("code", {}, visible(t.text) || "∅")),
    make("p", {}, change + ". Probabilities at temperature 1."),
    make("table", {}, make("thead", {}, make("tr", {}, ...heads.map((h) => make("th", h ? {} : { class: "em-change" }, h)))), make("tbody", {}, ...rows)),
    swaps ? make("p", { class: "em-hint" }, "▲▼ Ranks changed. A temperature never does that; EM-INF may swap logits other than the largest (Proposition 1).") : "",
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
    ...(TWO_MODELS ? [] : [button("Copy link", () => copyText(location.origin + address(run.settings)), "copy-link")]),
  ];
  const blocks = [["Python", run.python, "copy-python"], ["Command line", run.command, "copy-command"]].filter(([, text]) => text).map(([name, text, key]) =>
    make("details", {}, make("summary", {}, `Repeat this: ${name}`), button("Copy", () => copyText(text), key), make("pre", {}, text)));
  ways.replaceChildren(make("div", { class: "em-buttons" }, ...list), ...blocks);
}

function say(text, kind = "") {
  status.className = `em-status ${kind}`;
  status.textContent = text;
  element.firstElementChild.dataset.state = kind || "idle";
}

function begin(message) {
  run = new Run(message);
  run.live = true;
  selected = null;
  panes.forEach((pane, which) => {
    pane.title.textContent = run.names[which];
    pane.text.setAttribute("aria-label", `${run.names[which]}: tokens; arrow keys choose one`);
  });
  rewrite();
  ways.replaceChildren();
  if (!TWO_MODELS) history.replaceState(null, "", address(run.settings));
}

function finish(kind, text) {
  if (kind === "error" && run && !run.live) { // it never began: what an earlier one left is not its result
    run = selected = null;
    rewrite();
    ways.replaceChildren();
    redraw();
  }
  if (!run) return say(text, kind);
  run.live = false;
  rewrite();
  if (run.steps.length) {
    waysOut();
    if (run.parts !== null && !selected) select(1, Math.min(run.parts, run.row(1).length - 1));
  }
  redraw();
  say(text, kind);
}

// From the moment the button is pressed until the decode is stopped or has failed.
function receive(message) {
  if (!listening) return;
  if (message.kind === "start") begin(message), say(message.note || "Decoding …", "busy");
  else if (message.kind === "error") finish("error", message.message);
  else if (run && run.run === message.run && run.live) {
    const news = run.take(message);
    if (message.kind === "done") finish("done", run.note || `Done: ${run.steps.length} steps.`);
    else if (news) grow(), redraw();
  }
}

element.querySelector(".em-view").append(
  status, make("div", { class: "em-panes" }, ...panes.map((pane) => pane.node)), legend, svg, numbers, detail, ways);
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
