// Colours of the canvases, read from the style sheet, so that they follow light and dark mode.

const NAMES = ["ink", "faint", "line", "paper", "blue", "orange", "green", "cursor", "ghost", "zero"];
let known = null;
let tables = {};

/** Colours by name, as in style.css. */
export function colours() {
  if (!known) {
    const style = getComputedStyle(document.documentElement);
    known = Object.fromEntries(NAMES.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }
  return known;
}

/** Call a function when the scheme changes between light and dark. */
export function onScheme(listener) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    known = null;
    tables = {};
    listener();
  });
}

/** A colour for a share from -1 (orange) over 0 (paper) to 1 (blue), as [red, green, blue]. */
export function signedColour(share) {
  const { blue, orange, zero } = colours();
  const size = Math.min(1, Math.abs(share)) ** 0.8;
  return mix(rgb(zero), rgb(share >= 0 ? blue : orange), Number.isFinite(share) ? size : 0);
}

/** A colour for a share from 0 (paper) to 1 (blue). */
export function unitColour(share) {
  return signedColour(Math.max(0, share));
}

/** The colours of 513 shares from -1 to 1 in one of the scales "signed" and "unit", as pixels. */
export function colourTable(scale) {
  const colour = scale === "unit" ? unitColour : signedColour;
  // A colour in the four bytes of a pixel: red, green, blue, opaque.
  tables[scale] ??= Uint32Array.from({ length: 513 }, (_, i) => {
    const [red, green, blue] = colour((i - 256) / 256);
    return new Uint32Array(Uint8Array.of(red, green, blue, 255).buffer)[0];
  });
  return tables[scale];
}

function mix(from, to, share) {
  return from.map((value, i) => Math.round(value + (to[i] - value) * share));
}

function rgb(text) {
  return [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
}

/** `rgb(...)` of three numbers. */
export function css([red, green, blue]) {
  return `rgb(${red} ${green} ${blue})`;
}
