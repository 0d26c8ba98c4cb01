// A picture on which a mask is painted: what is painted is drawn anew. The mask is kept as a black and white picture of the
// same size a moment after each stroke; strokes are remembered, so that they can be taken back one by one.
const COLOUR = "#ff2e88";
const WAIT = 500; // ms after a stroke
const LONGEST = 2048; // px of the board's own side: larger pictures are painted on at this scale

export default function ({ data, parentElement, setTriggerValue }) {
  const box = parentElement.querySelector(".board");
  const board = box.board ?? (box.board = build(box));
  board.data = data;
  board.tell = (digest) => setTriggerValue("mask", digest);
  label(board);
  if (board.shown !== data.src) begin(board);
  else if (data.mask !== board.kept && !board.busy) load(board);
}

function build(box) {
  const [tools, sheet, said] = box.children;
  const [image, canvas] = sheet.children;
  const board = { box, tools, sheet, said, image, canvas, strokes: [], base: null, erase: false, kept: "", timer: 0 };
  const [paint, erase, size, undo, invert, clear] = tools.querySelectorAll("button, input");
  board.controls = { paint, erase, size, undo, invert, clear };
  paint.onclick = () => choose(board, false);
  erase.onclick = () => choose(board, true);
  undo.onclick = () => { board.strokes.pop(); redraw(board); changed(board); };
  invert.onclick = () => { board.strokes.push({ invert: true }); redraw(board); changed(board); };
  clear.onclick = () => { board.strokes = []; board.base = null; redraw(board); changed(board); };
  canvas.onpointerdown = (event) => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    board.stroke = { erase: board.erase, width: brush(board), points: [at(board, event)] };
    board.strokes.push(board.stroke);
    redraw(board);
  };
  canvas.onpointermove = (event) => {
    ring(board, event);
    if (!board.stroke) return;
    for (const each of event.getCoalescedEvents?.() ?? [event]) board.stroke.points.push(at(board, each));
    line(board, board.stroke);
  };
  canvas.onpointerup = canvas.onpointercancel = () => {
    if (!board.stroke) return;
    board.stroke = null;
    changed(board);
  };
  choose(board, false);
  return board;
}

function label({ controls, data, tools, image }) {
  for (const [name, control] of Object.entries(controls)) {
    const words = data.words[name];
    control.title = words;
    control.setAttribute("aria-label", words);
    if (control.tagName === "BUTTON") control.textContent = words;
  }
  tools.setAttribute("aria-label", data.words.tools);
  image.alt = data.alt;
}

function choose(board, erase) {
  board.erase = erase;
  board.controls.paint.setAttribute("aria-pressed", String(!erase));
  board.controls.erase.setAttribute("aria-pressed", String(erase));
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
  const width = (brush(board) / board.canvas.width) * area.width;
  board.sheet.style.setProperty("--x", `${event.clientX - area.left}px`);
  board.sheet.style.setProperty("--y", `${event.clientY - area.top}px`);
  board.sheet.style.setProperty("--brush", `${width}px`);
}

function redraw(board) {
  const pen = board.canvas.getContext("2d");
  pen.clearRect(0, 0, board.canvas.width, board.canvas.height);
  if (board.base) pen.drawImage(board.base, 0, 0);
  for (const stroke of board.strokes) stroke.invert ? turn(board, pen) : line(board, stroke);
  board.controls.undo.disabled = !board.strokes.length;
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
  board.controls.undo.disabled = !board.strokes.length;
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
    said.textContent = "";
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
