// What a visitor takes away; all of it is made here, from what the browser has.
function save(name, blob) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function asJson(run) {
  const names = ["plain", "em"];
  const rows = run.names.map((name, which) => [
    run.two_models ? name : names[which],
    run.row(which).map((t) => ({
      id: t.id, token: t.text, special: t.special, entropy_before: t.before, entropy_after: t.after, adjusted: t.adjusted,
      candidates: t.candidates.map(([id, text, before, after]) => ({ id, token: text, before, after: after ?? before })),
    })),
  ]);
  return JSON.stringify({ settings: run.settings, diverges_at: run.parts, unit: "nats", ...Object.fromEntries(rows) }, null, 1);
}

function asCsv(run) {
  // A spreadsheet takes a cell that begins with one of these for a formula.
  const quote = (text) => `"${(/^[=+\-@\t\r]/.test(text) ? "'" + text : text).replaceAll('"', '""')}"`;
  const lines = ["row,step,token_id,token,entropy_before_nats,entropy_after_nats,adjusted"];
  run.names.forEach((name, which) =>
    run.row(which).forEach((t, i) => lines.push([quote(name), i, t.id, quote(t.text), t.before, t.after, t.adjusted].join(","))),
  );
  return lines.join("\r\n") + "\r\n";
}

function savePng(svg, name) {
  const copy = svg.cloneNode(true);
  const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
  copy.setAttribute("xmlns", SVG);
  copy.setAttribute("width", width * 2);
  copy.setAttribute("height", height * 2);
  const image = new Image();
  image.onload = () => {
    const canvas = make("canvas", { width: width * 2, height: height * 2 });
    canvas.getContext("2d").drawImage(image, 0, 0);
    canvas.toBlob((blob) => save(name, blob), "image/png");
  };
  image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(new XMLSerializer().serializeToString(copy));
}

const LONGEST_PROMPT_IN_ADDRESS = 1500;

function address({ settings, answer }) {
  const query = new URLSearchParams(Object.entries(settings).map(([name, value]) => [name, String(value)]));
  if (answer) query.set("answer", answer);
  if (settings.prompt.length > LONGEST_PROMPT_IN_ADDRESS) query.delete("prompt");
  const here = new URLSearchParams(location.search);
  for (const name of ["__theme", "view"]) if (here.has(name)) query.set(name, here.get(name));
  return `${location.pathname}?${query}`;
}

// The clipboard needs a secure page; elsewhere a selected field does.
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = make("textarea", { class: "em-offscreen" });
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
}
