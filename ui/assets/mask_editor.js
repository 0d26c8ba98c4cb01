// An image on which a mask is painted, or boxes are drawn: what is painted, or in a box, is generated anew. The mask is kept as
// a black and white image of the same size a moment after each stroke; strokes are remembered, so that they can be undone one by
// one. Boxes are [left, top, width, height] in pixels of the image; a click on a box removes it.
const COLOUR = "#ff2e88";
const WAIT = 500; // ms after a stroke
const LONGEST = 2048; // px of the editor's own side: larger images are painted on at this scale
const [PAINT, ERASE, BOX] = ["paint", "erase", "box"]; // tools

export default function ({ data, parentElement, setTriggerValue }) {
  const box = parentElement.querySelector(".editor");
  const editor = box.editor ?? (box.editor = build(box));
  editor.data = data;
  editor.tell = (digest) => setTriggerValue("mask", digest);
  editor.tellBoxes = (boxes) => setTriggerValue("boxes", boxes);
  label(editor);
  if (editor.shown !== data.src) begin(editor);
  else if (data.mask !== editor.kept && !editor.busy) load(editor);
  editor.boxes = data.boxes;
  showBoxes(editor);
}

function build(box) {
  const [tools, surface, status] = box.children;
  const [image, canvas, frames] = surface.children;
  const editor = { box, tools, surface, status, image, canvas, frames, strokes: [], base: null, kept: "", timer: 0, boxes: [] };
  const [paint, erase, boxes, size, undo, invert, clear] = tools.querySelectorAll("button, input");
  editor.controls = { paint, erase, box: boxes, size, undo, invert, clear };
  paint.onclick = () => choose(editor, PAINT);
  erase.onclick = () => choose(editor, ERASE);
  boxes.onclick = () => choose(editor, BOX);
  undo.onclick = () => {
    if (editor.tool === BOX) return giveBoxes(editor, editor.boxes.slice(0, -1));
    editor.strokes.pop();
    redraw(editor);
    changed(editor);
  };
  invert.onclick = () => { editor.strokes.push({ invert: true }); redraw(editor); changed(editor); };
  clear.onclick = () => {
    if (editor.tool === BOX) return giveBoxes(editor, []);
    editor.strokes = [];
    editor.base = null;
    redraw(editor);
    changed(editor);
  };
  canvas.onpointerdown = (event) => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    if (editor.tool === BOX) {
      editor.drawn = { from: at(editor, event), to: at(editor, event) };
      return;
    }
    editor.stroke = { erase: editor.tool === ERASE, width: brush(editor), points: [at(editor, event)] };
    editor.strokes.push(editor.stroke);
    redraw(editor);
  };
  canvas.onpointermove = (event) => {
    ring(editor, event);
    if (editor.drawn) {
      editor.drawn.to = at(editor, event);
      return showBoxes(editor);
    }
    if (!editor.stroke) return;
    for (const each of event.getCoalescedEvents?.() ?? [event]) editor.stroke.points.push(at(editor, each));
    line(editor, editor.stroke);
  };
  canvas.onpointerup = canvas.onpointercancel = (event) => {
    if (editor.drawn) return endBox(editor, event.type === "pointercancel");
    if (!editor.stroke) return;
    editor.stroke = null;
    changed(editor);
  };
  choose(editor, PAINT);
  return editor;
}

function label({ controls, data, tools, image }) {
  for (const [name, control] of Object.entries(controls)) named(control, data.words[name]);
  tools.setAttribute("aria-label", data.words.tools);
  image.alt = data.alt;
}

function named(control, words) {
  control.title = words;
  control.setAttribute("aria-label", words);
  if (control.tagName === "BUTTON") control.textContent = words;
}

function choose(editor, tool) {
  editor.tool = tool;
  for (const name of [PAINT, ERASE, BOX]) editor.controls[name].setAttribute("aria-pressed", String(name === tool));
  if (editor.data) enable(editor);
}

// Boxes take the place of a mask: while there is one of them, the tools of the other are off, and the line below says why.
function enable(editor) {
  const { controls, data, status, boxes } = editor;
  const painted = editor.strokes.length > 0 || editor.base !== null;
  if (boxes.length && editor.tool !== BOX) choose(editor, BOX);
  if (painted && editor.tool === BOX) choose(editor, PAINT);
  controls.paint.disabled = controls.erase.disabled = boxes.length > 0;
  controls.box.disabled = painted;
  controls.size.disabled = controls.invert.disabled = editor.tool === BOX;
  controls.undo.disabled = editor.tool === BOX ? !boxes.length : !editor.strokes.length;
  named(controls.clear, editor.tool === BOX ? data.words.clear_boxes : data.words.clear);
  if (!editor.busy) status.textContent = boxes.length ? data.words.box_hint : painted ? data.words.mask_hint : "";
}

function begin(editor) {
  const { data, canvas, image, surface } = editor;
  const scale = Math.min(1, LONGEST / Math.max(data.width, data.height));
  editor.shown = data.src;
  image.src = data.src;
  surface.style.setProperty("--ratio", data.width / data.height);
  canvas.width = Math.round(data.width * scale);
  canvas.height = Math.round(data.height * scale);
  editor.strokes = [];
  editor.drawn = null;
  load(editor);
}

// The mask that is kept already, as after a change of pages: its white becomes what is painted.
function load(editor) {
  editor.kept = editor.data.mask;
  editor.strokes = [];
  editor.base = null;
  if (!editor.kept) return redraw(editor);
  const mask = new Image();
  mask.onload = () => {
    const layer = document.createElement("canvas");
    layer.width = editor.canvas.width;
    layer.height = editor.canvas.height;
    const pen = layer.getContext("2d");
    pen.drawImage(mask, 0, 0, layer.width, layer.height);
    const pixels = pen.getImageData(0, 0, layer.width, layer.height);
    for (let k = 0; k < pixels.data.length; k += 4) pixels.data[k + 3] = pixels.data[k];
    pen.putImageData(pixels, 0, 0);
    tint(pen, COLOUR);
    editor.base = layer;
    redraw(editor);
  };
  mask.src = editor.kept;
}

function at({ canvas }, event) {
  const area = canvas.getBoundingClientRect();
  return [((event.clientX - area.left) / area.width) * canvas.width, ((event.clientY - area.top) / area.height) * canvas.height];
}

function brush({ controls, canvas }) {
  return (Number(controls.size.value) / 100) * Math.min(canvas.width, canvas.height);
}

function ring(editor, event) {
  const area = editor.canvas.getBoundingClientRect();
  const width = editor.tool === BOX ? 0 : (brush(editor) / editor.canvas.width) * area.width;
  editor.surface.style.setProperty("--x", `${event.clientX - area.left}px`);
  editor.surface.style.setProperty("--y", `${event.clientY - area.top}px`);
  editor.surface.style.setProperty("--brush", `${width}px`);
}

function redraw(editor) {
  const pen = editor.canvas.getContext("2d");
  pen.clearRect(0, 0, editor.canvas.width, editor.canvas.height);
  if (editor.base) pen.drawImage(editor.base, 0, 0);
  for (const stroke of editor.strokes) stroke.invert ? turn(editor, pen) : line(editor, stroke);
  enable(editor);
}

// The rectangle between two points of the canvas, in whole pixels of the image and within it.
function rectangle({ data, canvas }, { from, to }) {
  const side = (a, b, pixels, length) => {
    const ends = [a, b].map((value) => Math.min(length, Math.max(0, Math.round((value / pixels) * length))));
    return [Math.min(...ends), Math.abs(ends[1] - ends[0])];
  };
  const [left, width] = side(from[0], to[0], canvas.width, data.width);
  const [top, height] = side(from[1], to[1], canvas.height, data.height);
  return [left, top, width, height];
}

function showBoxes(editor) {
  const { frames, data, drawn } = editor;
  const shown = [...editor.boxes, ...(drawn ? [rectangle(editor, drawn)] : [])];
  frames.replaceChildren(...shown.map(([left, top, width, height], index) => {
    const frame = document.createElement("i");
    Object.assign(frame.style, {
      left: `${(100 * left) / data.width}%`, top: `${(100 * top) / data.height}%`,
      width: `${(100 * width) / data.width}%`, height: `${(100 * height) / data.height}%`,
    });
    frame.textContent = index + 1;
    return frame;
  }));
  enable(editor);
}

// A drag adds a box; a click removes the topmost one that lies there.
function endBox(editor, cancelled) {
  const { data, drawn, status } = editor;
  const added = rectangle(editor, drawn);
  editor.drawn = null;
  showBoxes(editor);
  if (cancelled) return;
  const [x, y, width, height] = added;
  if (Math.min(width, height) >= data.smallest) {
    if (editor.boxes.length < data.most) return giveBoxes(editor, [...editor.boxes, added]);
    status.textContent = data.words.most;
    return;
  }
  const hit = editor.boxes.findLastIndex(([left, top, wide, high]) => x >= left && x < left + wide && y >= top && y < top + high);
  if (hit >= 0) giveBoxes(editor, editor.boxes.filter((_, index) => index !== hit));
}

function giveBoxes(editor, boxes) {
  editor.boxes = boxes;
  showBoxes(editor);
  editor.tellBoxes(boxes);
}

function line(editor, stroke) {
  const pen = editor.canvas.getContext("2d");
  pen.globalCompositeOperation = stroke.erase ? "destination-out" : "source-over";
  pen.strokeStyle = COLOUR;
  pen.lineWidth = stroke.width;
  pen.lineCap = pen.lineJoin = "round";
  pen.beginPath();
  stroke.points.forEach(([x, y], k) => (k ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.lineTo(...stroke.points.at(-1)); // a dot is a line of no length
  pen.stroke();
  pen.globalCompositeOperation = "source-over";
}

function turn(editor, pen) {
  pen.globalCompositeOperation = "xor";
  pen.fillStyle = COLOUR;
  pen.fillRect(0, 0, editor.canvas.width, editor.canvas.height);
  pen.globalCompositeOperation = "source-over";
}

function tint(pen, colour) {
  pen.globalCompositeOperation = "source-in";
  pen.fillStyle = colour;
  pen.fillRect(0, 0, pen.canvas.width, pen.canvas.height);
  pen.globalCompositeOperation = "source-over";
}

function changed(editor) {
  enable(editor);
  clearTimeout(editor.timer);
  editor.busy = true;
  editor.timer = setTimeout(() => save(editor), WAIT);
}

async function save(editor) {
  const { data, status } = editor;
  status.textContent = data.words.saving;
  try {
    const digest = empty(editor.canvas) ? "" : await keep(maskImage(editor), data.language);
    editor.kept = digest && `/api/inputs/${digest}`;
    status.textContent = digest ? data.words.mask_hint : "";
    editor.tell(digest);
  } catch (error) {
    status.textContent = `${data.words.failed} ${error.message}`;
  }
  editor.busy = false;
}

function empty(canvas) {
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  for (let k = 3; k < pixels.length; k += 4) if (pixels[k] > 127) return false;
  return true;
}

// White where it is painted, black elsewhere, of the image's own size.
function maskImage({ canvas, data }) {
  const surface = document.createElement("canvas");
  surface.width = data.width;
  surface.height = data.height;
  const pen = surface.getContext("2d");
  pen.drawImage(canvas, 0, 0, surface.width, surface.height);
  tint(pen, "#ffffff");
  pen.globalCompositeOperation = "destination-over";
  pen.fillStyle = "#000000";
  pen.fillRect(0, 0, surface.width, surface.height);
  return new Promise((done) => surface.toBlob(done, "image/png"));
}

async function keep(waiting, language) {
  const body = await waiting;
  const answer = await fetch("/api/inputs", { method: "POST", body, headers: { "Content-Type": "image/png" } });
  const stored = await answer.json();
  if (!stored.digest) throw new Error(stored.error?.[language] ?? answer.statusText);
  return stored.digest;
}
