// Elements, numbers as text, and the size of a canvas.

/** Make an element: attributes by name, `onclick` and the like as functions, children or texts. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "selected") made[name] = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Replace the children of an element. */
export function fill(parent, ...children) {
  parent.replaceChildren(...children.filter((child) => child !== null && child !== undefined));
  return parent;
}

/** A number with `digits` significant digits, with a true minus sign, and without a trailing 0. */
export function formatNumber(value, digits = 3) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "missing" : value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size >= 1e6 || size < 1e-4
    ? value.toExponential(digits - 1)
    : String(Number(value.toPrecision(digits)));
  return text.replaceAll("-", "−");
}

/** "1 step", "2 steps". */
export function countOf(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

const shownWidths = new WeakMap(); // of the parents of canvases, in CSS pixels
let widthObserver = null;

/**
 * The width of an element, kept until it changes: to read it while panels are being drawn would make
 * the browser lay out the whole page once for each canvas.
 */
function shownWidth(parent) {
  widthObserver ??= new ResizeObserver((entries) => {
    const changed = entries.filter(({ target }) => shownWidths.get(target) !== target.clientWidth);
    for (const { target } of changed) shownWidths.set(target, target.clientWidth);
    if (changed.length) dispatchEvent(new Event("resize")); // draws all panels again
  });
  if (!shownWidths.has(parent)) {
    shownWidths.set(parent, parent.clientWidth);
    widthObserver.observe(parent);
  }
  return shownWidths.get(parent);
}

/** Give a canvas the size in CSS pixels that it is shown in; return its context, cleared. */
export function prepareCanvas(canvas, height) {
  const width = Math.max(160, Math.floor(shownWidth(canvas.parentElement)));
  const ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = "12px system-ui, sans-serif";
  context.lineWidth = 1; // the last picture's stays where the size does
  return { context, width, height };
}
