// An image on which a mask is painted, or boxes are drawn: what is painted, or in a box, is generated anew. The mask is kept as
// a black and white image of the same size a moment after each stroke; strokes are remembered, so that they can be undone one by
// one. Boxes are [left, top, width, height] in pixels of the image; a click on a box removes it.
const COLOUR = "#ff2e88";
const WAIT = 500; // ms after a stroke
const LONGEST = 2048; // px of the board's own side: larger pictures are painted on at this scale
const [PAINT, ERASE, BOX] = ["paint", "erase", "box"]; // tools

export default function ({ data, parentElement, setTriggerValue }) {
  const box = parentElement.querySelector(".board");
  const board = box.board ?? (box.board = build(box));
  board.data = data;
  board.tell = (digest) => setTriggerValue("mask", digest);
  board.tellBoxes = (boxes) => setTriggerValue("boxes", boxes);
  label(board);
  if (board.shown !== data.src) begin(board);
  else if (data.mask !== board.kept && !board.busy) load(board);
  board.boxes = data.boxes;
  showBoxes(board);
}

function build(box) {
  const [tools, sheet, said] = box.children;
  const [image, canvas, frames] = sheet.children;
  const board = { box, tools, sheet, said, image, canvas, frames, strokes: [], base: null, kept: "", timer: 0, boxes: [] };
  const [paint, erase, boxes, size, undo, invert, clear] = tools.querySelectorAll("button, input");
  board.controls = { paint, erase, box: boxes, size, undo, invert, clear };
  paint.onclick = () => choose(board, PAINT);
  erase.onclick = () => choose(board, ERASE);
  boxes.onclick = () => choose(board, BOX);
  undo.onclick = () => {
    if (board.tool === BOX) return giveBoxes(board, board.boxes.slice(0, -1));
    board.strokes.pop();
    redraw(board);
    changed(board);
  };
  invert.onclick = () => { board.strokes.push({ invert: true }); redraw(board); changed(board); };
  clear.onclick = () => {
    if (board.tool === BOX) return giveBoxes(board, []);
    board.strokes = [];
    board.base = null;
    redraw(board);
    changed(board);
  };
  canvas.onpointerdown = (event) => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    if (board.tool === BOX) {
      board.drawn = { from: at(board, event), to: at(board, event) };
      return;
    }
    board.stroke = { erase: board.tool === ERASE, width: brush(board), points: [at(board, event)] };
    board.strokes.push(board.stroke);
    redraw(board);
  };
  canvas.onpointermove = (event) => {
    ring(board, event);
    if (board.drawn) {
      board.drawn.to = at(board, event);
      return showBoxes(board);
    }
    if (!board.stroke) return;
    for (const each of event.getCoalescedEvents?.() ?? [event]) board.stroke.points.push(at(board, each));
    line(board, board.stroke);
  };
  canvas.onpointerup = canvas.onpointercancel = (event) => {
    if (board.drawn) return endBox(board, event.type === "pointercancel");
    if (!board.stroke) return;
    board.stroke = null;
    changed(board);
  };
  choose(board, PAINT);
  return board;
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

function choose(board, tool) {
  board.tool = tool;
  for (const name of [PAINT, ERASE, BOX]) board.controls[name].setAttribute("aria-pressed", String(name === tool));
  if (board.data) enable(board);
}

// Boxes take the place of a mask: while there is one of them, the tools of the other are off, and the line below says why.
function enable(board) {
  const { controls, data, said, boxes } = board;
  const painted = board.strokes.length > 0 || board.base !== null;
  if (boxes.length && board.tool !== BOX) choose(board, BOX);
  if (painted && board.tool === BOX) choose(board, PAINT);
  controls.paint.disabled = controls.erase.disabled = boxes.length > 0;
  controls.box.disabled = painted;
  controls.size.disabled = controls.invert.disabled = board.tool === BOX;
  controls.undo.disabled = board.tool === BOX ? !boxes.length : !board.strokes.length;
  named(controls.clear, board.tool === BOX ? data.words.clear_boxes : data.words.clear);
  if (!board.busy) said.textContent = boxes.length ? data.words.box_hint : painted ? data.words.mask_hint : "";
}

function begin(board) {
  const { data, canvas, image, sheet } = board;
  const scale = Math.min(1, LONGEST / Math.max(data.width, data.height));
  board.shown = data.src;
  image.src = data.src;
  sheet.style.setProperty("--ratio", data.width / data.height);
  canvas.width = Math.round(data.width * scale);
  canvas.height = Math.round(data.height * scale);
  board.strokes = [];
  board.drawn = null;
  load(board);
}

// The mask that is kept already, as after a change of pages: its white becomes what is painted.
function load(board) {
  board.kept = board.data.mask;
  board.strokes = [];
  board.base = null;
  if (!board.kept) return redraw(board);
  const mask = new Image();
  mask.onload = () => {
    const layer = document.createElement("canvas");
    layer.width = board.canvas.width;
    layer.height = board.canvas.height;
    const pen = layer.getContext("2d");
    pen.drawImage(mask, 0, 0, layer.width, layer.height);
    const pixels = pen.getImageData(0, 0, layer.width, layer.height);
    for (let k = 0; k < pixels.data.length; k += 4) pixels.data[k + 3] = pixels.data[k];
    pen.putImageData(pixels, 0, 0);
    tint(pen, COLOUR);
    board.base = layer;
    redraw(board);
  };
  mask.src = board.kept;
}

function at({ canvas }, event) {
  const area = canvas.getBoundingClientRect();
  return [((event.clientX - area.left) / area.width) * canvas.width, ((event.clientY - area.top) / area.height) * canvas.height];
}

function brush({ controls, canvas }) {
  return (Number(controls.size.value) / 100) * Math.min(canvas.width, canvas.height);
}

function ring(board, event) {
  const area = board.canvas.getBoundingClientRect();
  const width = board.tool === BOX ? 0 : (brush(board) / board.canvas.width) * area.width;
  board.sheet.style.setProperty("--x", `${event.clientX - area.left}px`);
  board.sheet.style.setProperty("--y", `${event.clientY - area.top}px`);
  board.sheet.style.setProperty("--brush", `${width}px`);
}

function redraw(board) {
  const pen = board.canvas.getContext("2d");
  pen.clearRect(0, 0, board.canvas.width, board.canvas.height);
  if (board.base) pen.drawImage(board.base, 0, 0);
  for (const stroke of board.strokes) stroke.invert ? turn(board, pen) : line(board, stroke);
  enable(board);
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

function showBoxes(board) {
  const { frames, data, drawn } = board;
  const shown = [...board.boxes, ...(drawn ? [rectangle(board, drawn)] : [])];
  frames.replaceChildren(...shown.map(([left, top, width, height], index) => {
    const frame = document.createElement("i");
    Object.assign(frame.style, {
      left: `${(100 * left) / data.width}%`, top: `${(100 * top) / data.height}%`,
      width: `${(100 * width) / data.width}%`, height: `${(100 * height) / data.height}%`,
    });
    frame.textContent = index + 1;
    return frame;
  }));
  enable(board);
}

// A drag adds a box; a click removes the topmost one that lies there.
function endBox(board, cancelled) {
  const { data, drawn, said } = board;
  const added = rectangle(board, drawn);
  board.drawn = null;
  showBoxes(board);
  if (cancelled) return;
  const [x, y, width, height] = added;
  if (Math.min(width, height) >= data.smallest) {
    if (board.boxes.length < data.most) return giveBoxes(board, [...board.boxes, added]);
    said.textContent = data.words.most;
    return;
  }
  const hit = board.boxes.findLastIndex(([left, top, wide, high]) => x >= left && x < left + wide && y >= top && y < top + high);
  if (hit >= 0) giveBoxes(board, board.boxes.filter((_, index) => index !== hit));
}

function giveBoxes(board, boxes) {
  board.boxes = boxes;
  showBoxes(board);
  board.tellBoxes(boxes);
}

function line(board, stroke) {
  const pen = board.canvas.getContext("2d");
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

function turn(board, pen) {
  pen.globalCompositeOperation = "xor";
  pen.fillStyle = COLOUR;
  pen.fillRect(0, 0, board.canvas.width, board.canvas.height);
  pen.globalCompositeOperation = "source-over";
}

function tint(pen, colour) {
  pen.globalCompositeOperation = "source-in";
  pen.fillStyle = colour;
  pen.fillRect(0, 0, pen.canvas.width, pen.canvas.height);
  pen.globalCompositeOperation = "source-over";
}

function changed(board) {
  enable(board);
  clearTimeout(board.timer);
  board.busy = true;
  board.timer = setTimeout(() => save(board), WAIT);
}

async function save(board) {
  const { data, said } = board;
  said.textContent = data.words.saving;
  try {
    const digest = empty(board.canvas) ? "" : await keep(picture(board), data.language);
    board.kept = digest && `/api/inputs/${digest}`;
    said.textContent = digest ? data.words.mask_hint : "";
    board.tell(digest);
  } catch (error) {
    said.textContent = `${data.words.failed} ${error.message}`;
  }
  board.busy = false;
}

function empty(canvas) {
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  for (let k = 3; k < pixels.length; k += 4) if (pixels[k] > 127) return false;
  return true;
}

// White where it is painted, black elsewhere, of the picture's own size.
function picture({ canvas, data }) {
  const sheet = document.createElement("canvas");
  sheet.width = data.width;
  sheet.height = data.height;
  const pen = sheet.getContext("2d");
  pen.drawImage(canvas, 0, 0, sheet.width, sheet.height);
  tint(pen, "#ffffff");
  pen.globalCompositeOperation = "destination-over";
  pen.fillStyle = "#000000";
  pen.fillRect(0, 0, sheet.width, sheet.height);
  return new Promise((done) => sheet.toBlob(done, "image/png"));
}

async function keep(waiting, language) {
  const body = await waiting;
  const answer = await fetch("/api/inputs", { method: "POST", body, headers: { "Content-Type": "image/png" } });
  const said = await answer.json();
  if (!said.digest) throw new Error(said.error?.[language] ?? answer.statusText);
  return said.digest;
}
