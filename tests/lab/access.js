// What a page offers to people who do not use a mouse, or see little: each function returns faults.

/** Canvases without a role, a description with numbers, or a place in the order of Tab. */
function faultsOfCanvases() {
  return [...document.querySelectorAll("canvas")].filter(isShown).flatMap((canvas) => {
    const where = canvas.closest("[id]")?.id;
    const label = canvas.getAttribute("aria-label") ?? "";
    const faults = [];
    if (canvas.closest(".uplot")) return faults; // the box around it has the description
    if (canvas.getAttribute("role") !== "img") faults.push(`${where}: no role`);
    if (!/\d/.test(label)) faults.push(`${where}: ${label}`);
    if (canvas.tabIndex < 0 && !canvas.classList.contains("still")) faults.push(`${where}: no Tab`);
    return faults;
  });
}

/** Texts whose contrast with what is behind them is below a ratio. */
function faultsOfContrast(least) {
  const faults = new Set();
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const parent = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !isShown(parent)) continue;
    if (parent.closest("script, noscript, option, .skip, .hidden-text")) continue;
    if (parent.closest(":disabled, [aria-disabled=true]")) continue; // exempt: WCAG 1.4.3
    const behind = backgroundOf(parent);
    const ratio = contrastOf(over(parsed(getComputedStyle(parent).color), behind), behind);
    if (ratio < least) {
      faults.add(`${ratio.toFixed(2)} ${parent.closest("[id]")?.id} ${walk.currentNode.data.trim().slice(0, 40)}`);
    }
  }
  return [...faults];
}

function backgroundOf(element) {
  const layers = [];
  for (let at = element; at; at = at.parentElement) {
    const colour = parsed(getComputedStyle(at).backgroundColor);
    layers.push(colour);
    if (colour[3] === 1) break;
  }
  return layers.reverse().reduce((behind, colour) => over(colour, behind), [255, 255, 255, 1]);
}

/** [red, green, blue, alpha] of any colour of CSS, as a canvas reads it. */
function parsed(colour) {
  const canvas = parsed.canvas ??= document.createElement("canvas");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.clearRect(0, 0, 1, 1);
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  const [red, green, blue, alpha] = context.getImageData(0, 0, 1, 1).data;
  return [red, green, blue, alpha / 255];
}

function over([red, green, blue, alpha], behind) {
  return [...[red, green, blue].map((value, i) => value * alpha + behind[i] * (1 - alpha)), 1];
}

function contrastOf(one, two) {
  const luminance = (colour) => colour.slice(0, 3).map((value) => value / 255)
    .map((share) => (share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4))
    .reduce((sum, share, i) => sum + share * [0.2126, 0.7152, 0.0722][i], 0);
  const [low, high] = [luminance(one), luminance(two)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

/** Elements that reach beyond the page, other than in a box that scrolls by itself. */
function faultsOfWidth() {
  const wide = document.documentElement.clientWidth;
  return [...document.body.querySelectorAll("*")].filter(isShown)
    .filter((element) => !scrolls(element) && !element.closest(".skip, .hidden-text, svg, math"))
    .filter((element) => element.getBoundingClientRect().right > wide + 1)
    .map((element) => `${element.closest("[id]")?.id}: ${element.tagName} ${element.className} ${
      Math.round(element.getBoundingClientRect().right)} of ${wide}`);
}

function scrolls(element) {
  for (let at = element.parentElement; at; at = at.parentElement) {
    if (["auto", "scroll", "hidden"].includes(getComputedStyle(at).overflowX)) return true;
  }
  return false;
}

function isShown(element) {
  return element.getClientRects().length > 0 && getComputedStyle(element).visibility === "visible";
}

/** The focused element in words, and whether one sees that it has the focus. */
function focused() {
  const element = document.activeElement;
  const { outlineStyle, outlineWidth } = getComputedStyle(element);
  return {
    place: [...document.querySelectorAll("*")].indexOf(element),
    what: `${element.tagName} ${element.id || element.textContent.slice(0, 30)}`,
    panel: element.closest("section")?.id ?? null,
    seen: outlineStyle !== "none" && parseFloat(outlineWidth) >= 1,
  };
}
