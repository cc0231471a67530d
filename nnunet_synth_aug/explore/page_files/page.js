// One page for both: SETUP.live asks the server that sent it, otherwise the hearts are in SETUP.hearts. Nothing is loaded from elsewhere.
const $ = (id) => document.getElementById(id);
const make = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
};
const NAMES = { lv_ef: ["EF", "%"], lv_edv: ["EDV", "mL"], lv_esv: ["ESV (at its emptiest)", "mL"], lv_mass: ["muscle mass", "g"], rv_edv: ["RV EDV", "mL"], rv_ef: ["RV EF", "%"], diagnosis: ["diagnosis", ""] };
const COLOURS = { lv: "#56b4e9", myo: "#e07428", rv: "#1fae86" };
const rounded = (value) => (Math.abs(value) < 100 ? Math.round(value * 10) / 10 : Math.round(value)).toString();
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;

// ---- a heart that is ready to be drawn
function picture(source) {
  return new Promise((done, failed) => {
    const image = new Image(); // its decode() would wait while the tab is hidden
    image.onload = () => done(image);
    image.onerror = () => failed(new Error("a picture is damaged"));
    image.src = source;
  });
}

async function ready(heart) {
  const [image, mask] = await Promise.all([picture(heart.image), picture(heart.mask)]);
  const surface = document.createElement("canvas");
  surface.width = mask.width;
  surface.height = mask.height;
  const context = surface.getContext("2d", { willReadFrequently: true });
  context.drawImage(mask, 0, 0);
  const pixels = context.getImageData(0, 0, mask.width, mask.height).data;
  const labels = new Uint8Array(mask.width * mask.height);
  for (let i = 0; i < labels.length; i++) labels[i] = Math.round(pixels[4 * i] / 80);
  return { ...heart, sprite: image, labels, width: mask.width, outlines: new Map() };
}

// Outline of a structure in one tile: marching squares on a lightly smoothed mask, in pixels of the tile.
function outline(heart, slice, frame, inside) {
  const n = heart.tile, raw = new Float32Array((n + 2) * (n + 2)), w = n + 2;
  let any = false;
  for (let y = 0; y < n; y++) for (let x = 0; x < n; x++) {
    if (inside(heart.labels[(slice * n + y) * heart.width + frame * n + x])) { raw[(y + 1) * w + x + 1] = 1; any = true; }
  }
  const path = new Path2D();
  if (!any) return path;
  const smooth = raw.slice();
  for (let y = 1; y <= n; y++) for (let x = 1; x <= n; x++) {
    const i = y * w + x;
    smooth[i] = (4 * raw[i] + 2 * (raw[i - 1] + raw[i + 1] + raw[i - w] + raw[i + w]) + raw[i - w - 1] + raw[i - w + 1] + raw[i + w - 1] + raw[i + w + 1]) / 16;
  }
  // Segments by the edge at which they begin; each edge of the grid is crossed once, so that segments join to closed loops.
  const next = new Map(), place = new Map();
  const cross = (a, b, ax, ay, bx, by) => {
    const key = a < b ? a * 4 * w * w + b : b * 4 * w * w + a;
    if (!place.has(key)) { const s = (0.5 - smooth[a]) / (smooth[b] - smooth[a]); place.set(key, [ax + s * (bx - ax) - 0.5, ay + s * (by - ay) - 0.5]); }
    return key;
  };
  for (let y = 0; y < w - 1; y++) for (let x = 0; x < w - 1; x++) {
    const a = y * w + x, b = a + 1, c = a + w + 1, d = a + w;
    const code = (smooth[a] >= 0.5) * 8 + (smooth[b] >= 0.5) * 4 + (smooth[c] >= 0.5) * 2 + (smooth[d] >= 0.5);
    if (code === 0 || code === 15) continue;
    const top = () => cross(a, b, x, y, x + 1, y), right = () => cross(b, c, x + 1, y, x + 1, y + 1);
    const bottom = () => cross(d, c, x, y + 1, x + 1, y + 1), left = () => cross(a, d, x, y, x, y + 1);
    const join = (from, to) => next.set(from, to);
    switch (code) { // with the inside on the right
      case 1: join(bottom(), left()); break;
      case 2: join(right(), bottom()); break;
      case 3: join(right(), left()); break;
      case 4: join(top(), right()); break;
      case 5: join(top(), left()); join(bottom(), right()); break;
      case 6: join(top(), bottom()); break;
      case 7: join(top(), left()); break;
      case 8: join(left(), top()); break;
      case 9: join(bottom(), top()); break;
      case 10: join(left(), bottom()); join(right(), top()); break;
      case 11: join(right(), top()); break;
      case 12: join(left(), right()); break;
      case 13: join(bottom(), right()); break;
      case 14: join(left(), bottom()); break;
    }
  }
  while (next.size) {
    let key = next.keys().next().value, first = true;
    while (next.has(key)) {
      const to = next.get(key), [px, py] = place.get(key);
      next.delete(key);
      if (first) path.moveTo(px, py); else path.lineTo(px, py);
      first = false;
      key = to;
    }
    path.closePath();
  }
  return path;
}

function outlines(heart, slice, frame) {
  const key = slice * heart.frames + frame;
  if (!heart.outlines.has(key)) {
    const ring = new Path2D(), lv = outline(heart, slice, frame, (l) => l === 3), outer = outline(heart, slice, frame, (l) => l >= 2);
    ring.addPath(outer);
    ring.addPath(lv);
    heart.outlines.set(key, { lv, outer, ring, rv: outline(heart, slice, frame, (l) => l === 1) });
  }
  return heart.outlines.get(key);
}

function drawTile(context, heart, slice, frame, x, y, size, masks) {
  const n = heart.tile;
  context.save();
  context.beginPath();
  context.rect(x, y, size, size);
  context.clip();
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  context.drawImage(heart.sprite, frame * n, slice * n, n, n, x, y, size, size);
  if (masks) {
    const { lv, outer, ring, rv } = outlines(heart, slice, frame), scale = size / n;
    context.translate(x, y);
    context.scale(scale, scale);
    context.lineWidth = 1.6 * devicePixelRatio / scale;
    context.lineJoin = "round";
    context.globalAlpha = 0.2;
    for (const [path, colour] of [[ring, COLOURS.myo], [lv, COLOURS.lv], [rv, COLOURS.rv]]) { context.fillStyle = colour; context.fill(path, "evenodd"); }
    context.globalAlpha = 1;
    for (const [path, colour] of [[outer, COLOURS.myo], [rv, COLOURS.rv], [lv, COLOURS.lv]]) { context.strokeStyle = colour; context.stroke(path); }
  }
  context.restore();
}

// ---- the player
const state = { heart: null, frame: 0, playing: !still, since: performance.now(), drawn: "" };

function cycleFrame(heart, now) {
  return Math.floor(((now - state.since) * Number($("speed").value)) / Math.max(heart.frame_ms, 5)) % heart.frames;
}

function setFrame(frame) {
  state.frame = frame;
  const heart = state.heart;
  if (heart) state.since = performance.now() - ((frame + 0.01) * Math.max(heart.frame_ms, 5)) / Number($("speed").value);
}

function layout(count, width) {
  let columns = Math.min(count, Math.max(3, Math.floor(width / 150)));
  if (count <= 5 && width > 600) columns = count;
  columns = Math.ceil(count / Math.ceil(count / columns)); // even rows
  return { columns, rows: Math.ceil(count / columns) };
}

function draw(now) {
  requestAnimationFrame(draw);
  const heart = state.heart;
  for (const cell of cells) {
    const frame = state.playing ? cycleFrame(cell.heart, now) : state.frame % cell.heart.frames, key = `${frame} ${$("masks").checked}`;
    if (cell.drawn === key || !cell.canvas.isConnected) continue;
    cell.drawn = key;
    drawTile(cell.canvas.getContext("2d"), cell.heart, Math.floor(cell.heart.slices / 2), frame, 0, 0, cell.canvas.width, $("masks").checked);
  }
  if (!heart) return;
  if (state.playing) state.frame = cycleFrame(heart, now);
  const canvas = $("heart"), ratio = devicePixelRatio, width = Math.round(canvas.clientWidth * ratio);
  const { columns, rows } = layout(heart.slices, canvas.clientWidth);
  const gap = Math.round(3 * ratio), size = Math.floor((width - gap * (columns - 1)) / columns), height = rows * size + gap * (rows - 1);
  const key = `${heart.name} ${heart.key} ${state.frame} ${$("masks").checked} ${width}`;
  if (key === state.drawn || width === 0) return;
  state.drawn = key;
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
    canvas.style.aspectRatio = `${width} / ${height}`;
  }
  const context = canvas.getContext("2d");
  context.fillStyle = "#000";
  context.fillRect(0, 0, width, height);
  for (let z = 0; z < heart.slices; z++) {
    const x = (z % columns) * (size + gap), y = Math.floor(z / columns) * (size + gap);
    drawTile(context, heart, z, state.frame, x, y, size, $("masks").checked);
    context.font = `${Math.round(12 * ratio)}px system-ui, sans-serif`;
    const told = z === 0 ? (SETUP.live ? "base" : "near the base") : z === heart.slices - 1 ? (SETUP.live ? "apex" : "near the apex") : `${z + 1}`;
    context.fillStyle = "rgb(0 0 0 / 65%)";
    context.fillRect(x, y, context.measureText(told).width + 10 * ratio, 19 * ratio);
    context.fillStyle = "#d5d9e0";
    context.fillText(told, x + 5 * ratio, y + 14 * ratio);
  }
  const phase = state.frame === heart.ed ? ", fullest (ED)" : state.frame === heart.es ? ", emptiest (ES)" : "";
  $("frame").value = state.frame;
  $("frame").setAttribute("aria-valuetext", `frame ${state.frame + 1} of ${heart.frames}${phase}`);
  $("moment").textContent = `frame ${state.frame + 1} of ${heart.frames}`;
  const cursor = $("cursor");
  if (cursor) cursor.setAttribute("transform", `translate(${curveX(heart, state.frame)} 0)`);
}

// ---- numbers and curve
const LEFT = 36, RIGHT = 412, TOP = 12, BOTTOM = 176;
const curveX = (heart, frame) => LEFT + ((RIGHT - LEFT) * frame) / Math.max(heart.frames - 1, 1);

function svg(tag, attributes, text = "") {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.textContent = text;
  return node;
}

function showCurve(heart) {
  const chart = $("curve"), most = Math.max(...heart.volumes.lv, ...heart.volumes.rv), step = most > 240 ? 100 : 50, top = Math.ceil(most / step) * step;
  const y = (volume) => BOTTOM - ((BOTTOM - TOP) * volume) / top;
  chart.replaceChildren();
  for (let v = 0; v <= top; v += step) {
    chart.append(svg("line", { x1: LEFT, x2: RIGHT, y1: y(v), y2: y(v), stroke: "var(--line)" }), svg("text", { x: LEFT - 5, y: y(v) + 4, "text-anchor": "end" }, `${v}`));
  }
  for (const [frame, told] of [[heart.ed, "ED"], [heart.es, "ES"]]) {
    chart.append(svg("text", { x: curveX(heart, frame), y: BOTTOM + 16, "text-anchor": "middle" }, told));
    chart.append(svg("line", { x1: curveX(heart, frame), x2: curveX(heart, frame), y1: TOP, y2: BOTTOM, stroke: "var(--line)", "stroke-dasharray": "3 3" }));
  }
  const cycle = Math.round(heart.frame_ms * heart.frames);
  chart.append(svg("text", { x: (LEFT + RIGHT) / 2, y: 205, "text-anchor": "middle" }, `one beat, ${cycle} ms; ED: fullest, ES: emptiest`));
  for (const [name, colour, dash] of [["rv", "var(--rv-ink)", "6 4"], ["lv", "var(--lv-ink)", "none"]]) {
    const points = heart.volumes[name].map((v, t) => `${curveX(heart, t).toFixed(1)},${y(v).toFixed(1)}`).join(" ");
    chart.append(svg("polyline", { points, fill: "none", stroke: colour, "stroke-width": 2.5, "stroke-dasharray": dash, "data-curve": name }));
    const last = heart.volumes[name].at(-1), above = last > heart.volumes[name === "lv" ? "rv" : "lv"].at(-1);
    chart.append(svg("text", { x: RIGHT - 4, y: y(last) + (above ? -8 : 18), "text-anchor": "end", style: `fill: ${colour}; font-weight: 700` }, name.toUpperCase()));
  }
  const cursor = svg("line", { id: "cursor", x1: 0, x2: 0, y1: TOP, y2: BOTTOM, stroke: "var(--ink)", "stroke-width": 1.5 });
  chart.append(cursor);
  chart.setAttribute("aria-label", `Left ventricle: ${rounded(Math.max(...heart.volumes.lv))} mL at its fullest, ${rounded(Math.min(...heart.volumes.lv))} mL at its emptiest`);
}

function showValues(heart) {
  const esv = (p) => (p.lv_edv !== undefined && p.lv_ef !== undefined ? { lv_esv: p.lv_edv * (1 - p.lv_ef / 100) } : {});
  const asked = heart.asked, drawn = { ...heart.drawn, ...esv(heart.drawn) }, measured = { ...heart.measured, ...esv(heart.measured) };
  $("rows").replaceChildren(
    ...Object.entries(NAMES).map(([name, [title, unit]]) => {
      const told = (v) => (v === undefined ? "–" : typeof v === "number" ? `${rounded(v)} ${unit}` : v);
      const own = name in asked || (name === "lv_esv" && "lv_edv" in asked && "lv_ef" in asked);
      const cell = make("td", { class: own ? "asked" : "drawn", "data-asked": name }, own || drawn[name] === undefined ? told(drawn[name]) : `(${told(drawn[name])})`);
      return make("tr", { class: name === "lv_ef" ? "first" : "" }, make("th", { scope: "row" }, title), cell, make("td", { class: "measured", "data-measured": name }, name === "diagnosis" ? "" : told(measured[name])));
    }),
  );
  const time = heart.seconds ? ` Made in ${heart.seconds} s.` : "";
  $("made").textContent = `In brackets: not asked for, and drawn to fit. Measured: by counting the masks' voxels.${time}`;
  const notes = heart.notes.map((note) => `${note[0].toUpperCase()}${note.slice(1)}.`);
  if (heart.objections.length) notes.unshift(`The quality control would not take this heart: ${heart.objections.join("; ")}. It is the best of ${heart.tried} ${heart.tried > 1 ? "tries" : "try"}; another seed may do better.`);
  $("notes").replaceChildren(...notes.map((note) => make("li", {}, note)));
}

function downloads(heart) {
  const links = [];
  if (SETUP.live) {
    links.push(make("a", { class: "button", id: "nifti", href: `/api/hearts/${heart.key}/nifti`, download: `${heart.name}.zip` }, "Download image and masks (NIfTI, 4D)"));
    links.push(make("a", { class: "button", id: "json", href: `/api/hearts/${heart.key}/json`, download: `${heart.name}.json` }, "Download the values (JSON)"));
  } else {
    const { name, seed, asked, drawn, measured, volumes, ed, es, frame_ms } = heart;
    const blob = new Blob([JSON.stringify({ name, seed, asked, requested: drawn, measured, volumes_ml: volumes, ed, es, frame_ms }, null, 2)], { type: "application/json" });
    links.push(make("a", { class: "button", id: "json", href: URL.createObjectURL(blob), download: `${heart.name}.json` }, "Download the values (JSON)"));
  }
  $("downloads").replaceChildren(...links);
}

function show(heart) {
  state.heart = heart;
  state.drawn = "";
  $("frame").max = heart.frames - 1;
  if (!state.playing) setFrame(heart.ed);
  showValues(heart);
  showCurve(heart);
  downloads(heart);
  const m = heart.measured;
  $("heart").setAttribute("aria-label", `Short-axis slices of a beating heart, base to apex; measured EF ${rounded(m.lv_ef ?? 0)} %, EDV ${rounded(m.lv_edv ?? 0)} mL`);
  document.body.dataset.heart = heart.name;
}

function say(text, wrong = false) {
  $("status").textContent = text;
  $("status").className = wrong ? "wrong" : "";
}

// ---- live: ask the server
const ask = { job: "", wanted: null, timer: 0, round: 0, server: "", page: "", away: false };
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

function wish() {
  const values = { seed: $("seed").value, frames: $("frames").value, diagnosis: $("diagnosis").value };
  for (const { name } of SETUP.sliders) if (!$(`${name}_free`)?.checked) values[name] = $(`${name}_number`).value;
  return values;
}

function working(told) {
  $("working").hidden = told === null;
  if (told === null) return;
  const doing = told.state === "waiting" ? (told.ahead ? `waiting: ${told.ahead} ${told.ahead > 1 ? "hearts" : "heart"} before yours` : "about to begin") : told.doing || "beginning";
  $("bar").value = told.share || 0;
  $("doing").textContent = `${doing[0].toUpperCase()}${doing.slice(1)} …`;
}

async function call(path, options) {
  const answer = await fetch(path, options); // throws when the server is away
  return { value: await answer.json() };
}

function later(delay = 250) {
  clearTimeout(ask.timer);
  ask.timer = setTimeout(request, delay);
}

async function request() {
  const round = ++ask.round, values = wish();
  ask.wanted = values;
  try {
    const sent = await call("/api/hearts", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ ...values, instead: ask.job }) });
    if (round !== ask.round) return;
    back();
    if (!sent.value.id) return refused(sent.value.refused || sent.value.error);
    ask.job = sent.value.id;
    say("");
    for (;;) {
      const told = await call(`/api/hearts/${ask.job}`);
      if (round !== ask.round) return;
      if (told.value.state === "dropped") return later(0); // the tab slept, or this is another server
      if (told.value.state === "failed") return refused(told.value.error);
      if (told.value.state === "done") {
        const heart = await ready({ ...told.value.heart, key: ask.job });
        if (round !== ask.round) return;
        ask.wanted = null;
        working(null);
        show(heart);
        const m = heart.measured;
        return say(`EF ${rounded(m.lv_ef ?? 0)} % and EDV ${rounded(m.lv_edv ?? 0)} mL measured.`);
      }
      working(told.value);
      await pause(200);
    }
  } catch (error) {
    if (round === ask.round) lost(error);
  }
}

function refused(sentence) {
  ask.wanted = null;
  working(null);
  say(`${sentence[0].toUpperCase()}${sentence.slice(1)}.`, true);
}

function lost(error) {
  if (!(error instanceof TypeError)) throw error; // fetch's own way to say that nobody answers
  ask.away = true;
  working(null);
  say("The server does not answer. Is “synthaug explore” still running? This page goes on as soon as it is back.", true);
}

function back() {
  if (ask.away) say("The server is back.");
  ask.away = false;
}

async function heartbeat() {
  for (;;) {
    await pause(ask.away ? 1000 : 3000);
    if (document.hidden && !ask.away) continue;
    try {
      const { value } = await call("/api/alive");
      if (ask.page !== value.page) return location.reload(); // another generator
      const another = ask.server !== value.server;
      ask.server = value.server;
      if (another || (ask.away && ask.wanted)) later(0); // it knows none of this page's hearts
      back();
    } catch (error) {
      lost(error);
    }
  }
}

function control({ name, title, meaning, unit, step, low, high, start, set }) {
  const range = make("input", { id: name, type: "range", min: low, max: high, step, value: start, "aria-labelledby": `${name}_title`, "aria-describedby": `${name}_meaning` });
  const number = make("input", { id: `${name}_number`, type: "number", step: "any", value: start, "aria-labelledby": `${name}_title` });
  range.addEventListener("input", () => { number.value = range.value; });
  range.addEventListener("change", () => later());
  number.addEventListener("input", () => { range.value = number.value; });
  number.addEventListener("change", () => later(0));
  const parts = [make("span", { class: "name", id: `${name}_title` }, make("b", {}, title)), make("div", { class: "line" }, range, number, make("span", { class: "unit" }, unit)), make("p", { class: "meaning", id: `${name}_meaning` }, meaning)];
  const free = make("input", { id: `${name}_free`, type: "checkbox" });
  free.checked = !set;
  const follow = () => { range.disabled = number.disabled = free.checked; };
  free.addEventListener("change", () => { follow(); later(0); });
  follow();
  parts.push(make("label", { class: "check" }, free, "to fit the others"));
  return make("div", { class: "control", role: "group", "aria-labelledby": `${name}_title` }, ...parts);
}

function liveControls() {
  const diagnosis = make("select", { id: "diagnosis", onchange: () => later(0) }, make("option", { value: "" }, "to fit the others"), ...SETUP.diagnoses.map(({ value, title }) => make("option", { value }, title)));
  const seed = make("input", { id: "seed", type: "number", min: SETUP.seed.low, max: SETUP.seed.high, step: 1, value: 0, onchange: () => later(0) });
  const another = () => { seed.value = (Number(seed.value) || 0) + 1; later(0); };
  const frames = make("input", { id: "frames", type: "range", min: SETUP.frames.low, max: SETUP.frames.high, step: 1, value: SETUP.frames.start });
  const count = make("output", { for: "frames" }, `${SETUP.frames.start}`);
  frames.addEventListener("input", () => { count.textContent = frames.value; });
  frames.addEventListener("change", () => later());
  $("controls").append(
    make("h2", {}, "Ask for a heart"),
    ...SETUP.sliders.map(control),
    make("div", { class: "control" }, make("label", { class: "name", for: "diagnosis" }, "Diagnosis"), diagnosis),
    make("div", { class: "control" }, make("label", { class: "name", for: "frames" }, "Frames in one beat"), make("div", { class: "line" }, frames, count)),
    make("div", { class: "control" }, make("label", { class: "name", for: "seed" }, "Seed"), make("div", { class: "line" }, seed, make("button", { type: "button", class: "main", id: "another", onclick: another }, "Another heart")), make("p", { class: "meaning" }, "Same wishes and same seed: same heart.")),
  );
}

// ---- a file: hearts in a grid
const cells = [];

function fileControls() {
  const of = (name) => [...new Set(SETUP.hearts.map((heart) => heart.asked[name]))];
  const [diagnoses, edvs, efs] = [of("diagnosis"), of("lv_edv"), of("lv_ef")];
  const select = make("select", { id: "diagnosis" }, ...SETUP.diagnoses.filter(({ value }) => diagnoses.includes(value)).map(({ value, title }) => make("option", { value }, title)));
  const table = make("table", { class: "hearts" });
  $("controls").append(make("h2", {}, "Choose a heart"), make("div", { class: "control" }, make("label", { class: "name", for: "diagnosis" }, "Diagnosis"), select),
    make("p", { class: "meaning small" }, "Columns: end-diastolic volume (EDV), the blood in the left ventricle when it is fullest. Rows: ejection fraction (EF), the share of it that a beat pumps out."), table);
  let place = [1, efs.length - 1];
  const grid = async () => {
    const hearts = SETUP.hearts.filter((heart) => heart.asked.diagnosis === select.value);
    const loaded = await Promise.all(hearts.map(async (heart) => (heart.ready ??= await ready(heart))));
    cells.length = 0;
    table.replaceChildren(make("tr", {}, make("th", {}, make("span", { class: "hidden" }, "EF")), ...edvs.map((edv) => make("th", { scope: "col" }, `${edv} mL`))));
    const choose = (heart, button, at) => {
      place = at;
      table.querySelectorAll("button").forEach((one) => one.setAttribute("aria-pressed", one === button));
      show(heart);
    };
    let chosen = null;
    efs.forEach((ef, row) => table.append(make("tr", {}, make("th", { scope: "row" }, `${ef} %`), ...edvs.map((edv, column) => {
      const heart = loaded.find(({ asked }) => asked.lv_ef === ef && asked.lv_edv === edv);
      if (!heart) return make("td", {}, "none");
      const canvas = make("canvas", { width: 144, height: 144 });
      cells.push({ canvas, heart, drawn: "" });
      const button = make("button", { type: "button", "aria-pressed": "false", "aria-label": `EF ${ef} %, EDV ${edv} mL`, "data-ef": ef, "data-edv": edv, onclick: () => choose(heart, button, [column, row]) }, canvas);
      if (chosen === null || (place[0] === column && place[1] === row)) chosen = [heart, button, [column, row]];
      return make("td", {}, button);
    }))));
    if (chosen) choose(...chosen);
  };
  select.addEventListener("change", grid);
  return grid();
}

// ---- begin
$("intro").textContent = SETUP.live
  ? "Short-axis slices through a beating heart that does not exist. Say what heart it shall be; a generator draws it, and its volumes are measured."
  : "Short-axis slices through beating hearts that do not exist. A generator was asked for each of them; choose one, and compare what was asked with what was measured.";
$("origin").textContent = SETUP.people
  ? `Patient data: ${SETUP.generator} was trained on ${SETUP.taught}. Treat these hearts, screenshots and downloads like the patients' own images.`
  : `Made by ${SETUP.generator}. It was trained on ${SETUP.taught}, hearts that were drawn by a program: there is no patient data in it.`;
$("origin").className = SETUP.people ? "patients" : "";
$("play").addEventListener("click", () => {
  state.playing = !state.playing;
  setFrame(state.frame);
});
const labelPlay = () => { $("play").textContent = state.playing ? "Pause" : "Play"; $("play").setAttribute("aria-pressed", state.playing); };
$("play").addEventListener("click", labelPlay);
$("frame").addEventListener("input", () => { state.playing = false; labelPlay(); setFrame(Number($("frame").value)); });
$("speed").addEventListener("change", () => setFrame(state.frame));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|BUTTON|A)$/.test(event.target.tagName)) return;
  if (event.key === " ") { event.preventDefault(); $("play").click(); }
  if (event.key === "m") $("masks").click();
});
labelPlay();
requestAnimationFrame(draw);
if (SETUP.live) {
  liveControls();
  call("/api/alive").then(({ value }) => Object.assign(ask, value), lost).then(heartbeat);
  request();
} else {
  document.body.classList.add("file");
  fileControls();
}
