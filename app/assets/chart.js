// The entropy of both runs by token. Colours and fonts stand in the SVG itself, so that the PNG shows what the page shows.
const PALETTE = {
  light: { ink: "#1f2937", faint: "#6b7280", grid: "#e5e7eb", paper: "#ffffff", rows: ["#0072b2", "#b84a00"], trained: "#7b3fa0" },
  dark: { ink: "#f3f4f6", faint: "#9ca3af", grid: "#374151", paper: "#18181b", rows: ["#56b4e9", "#f5a623"], trained: "#cfa7ee" },
};
const palette = () => PALETTE[document.body.classList.contains("dark") ? "dark" : "light"];

function ceiling(values) {
  const top = Math.max(0, ...values);
  return [0.5, 1, 2, 3, 4, 6, 8, 10, 12].find((limit) => limit >= top) ?? Math.ceil(top);
}

function chart(svg, run, selected) {
  const width = Math.max(280, svg.clientWidth || 600), height = 190;
  const box = { left: 38, right: width - 10, top: 26, bottom: height - 34 };
  // Orange is EM-INF's: a trained model has a colour of its own.
  const colours = { ...palette() };
  if (TWO_MODELS) colours.rows = [colours.rows[0], colours.trained];
  const rows = run ? [run.row(0), run.row(1)] : [[], []];
  const withEm = Boolean(run && run.settings.entropy_min && !run.two_models);
  const count = Math.max(20, rows[0].length, rows[1].length);
  const top = ceiling([...rows.flat().map((t) => t.before), withEm ? run.settings.threshold : 0]);
  const x = (i) => box.left + ((i + 0.5) / count) * (box.right - box.left);
  const y = (nats) => box.bottom - (nats / top) * (box.bottom - box.top);
  const text = (at, content, more = {}) =>
    draw("text", { x: at[0], y: at[1], fill: colours.faint, "font-size": 11, "font-family": "system-ui, sans-serif", ...more }, content);

  const halo = { stroke: colours.paper, "stroke-width": 3, "paint-order": "stroke" };
  const labels = []; // above the lines

  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("data-points", rows[0].length + rows[1].length);
  const parts = [draw("rect", { width, height, fill: colours.paper })];
  for (let i = 0; i <= 4; i++) {
    const nats = (top * i) / 4;
    parts.push(draw("line", { x1: box.left, x2: box.right, y1: y(nats), y2: y(nats), stroke: colours.grid }));
    parts.push(text([box.left - 5, y(nats) + 4], String(+nats.toFixed(2)), { "text-anchor": "end" }));
  }
  const every = [5, 10, 20, 50, 100, 200, 500].find((step) => count / step <= width / 70) ?? 1000;
  for (let i = 0; i < count; i += every) parts.push(text([x(i), box.bottom + 15], String(i), { "text-anchor": "middle" }));
  parts.push(text([box.right, height - 4], "token", { "text-anchor": "end" }), text([4, 12], "nats"));
  if (withEm) {
    const at = y(run.settings.threshold);
    parts.push(draw("line", { class: "threshold", x1: box.left, x2: box.right, y1: at, y2: at, stroke: colours.ink, "stroke-dasharray": "6 4", "stroke-width": 1 }));
    labels.push(text([box.right - 2, at - 4], `threshold ${run.settings.threshold}`, { "text-anchor": "end", fill: colours.ink, ...halo }));
  }
  if (run && run.parts !== null) {
    parts.push(draw("line", { class: "parting", x1: x(run.parts), x2: x(run.parts), y1: box.top - 6, y2: box.bottom, stroke: colours.ink, "stroke-dasharray": "2 3" }));
    const late = run.parts > count / 2;
    labels.push(text([x(run.parts) + (late ? -4 : 4), box.top + 2], "they part", { fill: colours.ink, "text-anchor": late ? "end" : "start", ...halo }));
  }
  if (selected) parts.push(draw("rect", { x: x(selected.at) - 4, y: box.top, width: 8, height: box.bottom - box.top, fill: colours.faint, opacity: 0.25 }));
  const line = (row, value, more) =>
    draw("polyline", { points: row.map((t, i) => `${x(i).toFixed(1)},${y(value(t)).toFixed(1)}`).join(" "), fill: "none", "stroke-width": 1.8, "stroke-linejoin": "round", ...more });
  if (rows[0].length) parts.push(line(rows[0], (t) => t.before, { class: "row-0", stroke: colours.rows[0] }));
  if (withEm) parts.push(line(rows[1], (t) => t.before, { class: "row-1-before", stroke: colours.rows[1], "stroke-width": 1, "stroke-dasharray": "2 2" }));
  if (rows[1].length) parts.push(line(rows[1], (t) => t.after, { class: "row-1", stroke: colours.rows[1] }));
  const half = Math.min(3.5, Math.max(0.5, (x(1) - x(0)) / 2));
  rows[1].forEach((t, i) => {
    if (t.adjusted) parts.push(draw("path", { class: "adjusted", d: `M${x(i).toFixed(1)},${box.bottom - 5} l${-half},6 h${2 * half} z`, fill: colours.rows[1] }));
  });
  let at = box.left;
  const names = run ? run.names : ["Plain", "EM-INF"];
  const legend = [[names[0], colours.rows[0], ""], [names[1], colours.rows[1], ""]];
  if (withEm && width > 420) legend.push(["EM-INF, before", colours.rows[1], "2 2"]);
  if (withEm) legend.push(["adjusted", colours.rows[1], "▲"]);
  for (const [name, colour, dash] of legend) {
    const short = name.length > 16 ? name.slice(0, 15) + "…" : name;
    if (dash === "▲") parts.push(draw("path", { d: `M${at + 7},6 l-3.5,6 h7 z`, fill: colour }));
    else parts.push(draw("line", { x1: at, x2: at + 14, y1: 9, y2: 9, stroke: colour, "stroke-width": dash ? 1 : 2.5, "stroke-dasharray": dash }));
    parts.push(text([at + 18, 13], short, { fill: colours.ink }));
    at += 32 + short.length * 6.4;
  }
  svg.replaceChildren(...parts, ...labels);
  return (clientX) => {
    const share = ((clientX - svg.getBoundingClientRect().left) / svg.clientWidth) * width;
    return Math.floor(((share - box.left) / (box.right - box.left)) * count);
  };
}
