// The page: makes the panels, and draws those in view when the state changes.

import { onScheme } from "./colours.js";
import { comparePanel } from "./comparePanel.js";
import { readPayload } from "./data.js";
import { element, fill } from "./dom.js";
import { equationPanel } from "./equationPanel.js";
import { gatesPanel } from "./gatesPanel.js";
import { gradientPanel } from "./gradientPanel.js";
import { influencePanel } from "./influencePanel.js";
import { inputPanel } from "./inputPanel.js";
import { learningPanel } from "./learningPanel.js";
import { outputPanel } from "./outputPanel.js";
import { followTraining } from "./live.js";
import { Scene } from "./scene.js";
import { getState, onState, setState } from "./state.js";
import { statesPanel } from "./statesPanel.js";
import { textPanel } from "./textPanel.js";
import { makeToolbar } from "./toolbar.js";
import { trainPanel } from "./trainPanel.js";
import { unitsPanel } from "./unitsPanel.js";
import { votesPanel } from "./votesPanel.js";

// In the order in which they stand on the page.
const panels = [
  trainPanel, inputPanel, textPanel, outputPanel, statesPanel, gatesPanel, votesPanel, gradientPanel,
  influencePanel, equationPanel, unitsPanel, learningPanel, comparePanel,
];

const payload = readPayload();

/** What panels know of the page. */
const lab = {
  payload,
  scene: new Scene(payload.runs),
  getState,
  setState,
  onState,
  /** Replace a run, or add it, and draw; `run` has the form of the payload. */
  setRun(index, run) {
    const version = (lab.scene.runs[index]?.version ?? 0) + 1;
    lab.scene.runs[index] = { ...run, version };
    schedule();
  },
  redraw: () => schedule(),
};

const visible = new Set();
const stale = new Set(panels);
let scheduled = false;
let updateToolbar = () => {};

function start() {
  fill(document.getElementById("notes"), ...payload.notes.map((note) => element("p", {}, note)));
  updateToolbar = makeToolbar(document.getElementById("toolbar"), lab);
  const watch = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const panel = panels.find((each) => `panel-${each.id}` === target.id);
      if (isIntersecting) visible.add(panel);
      else visible.delete(panel);
    }
    if ([...visible].some((panel) => stale.has(panel))) schedule(false);
  }, { rootMargin: "50% 0px" });
  for (const panel of panels) watch.observe(makePanel(panel));
  onState(() => schedule());
  onScheme(() => schedule());
  addEventListener("resize", () => schedule());
  addEventListener("keydown", moveCursor);
  if (payload.mode === "live") followTraining(lab);
  schedule();
}

/** Make the section of a panel and its entry in the contents. */
function makePanel(panel) {
  const body = element("div", { class: "body" });
  const section = element("section", { id: `panel-${panel.id}`, class: "panel",
    "aria-labelledby": `title-${panel.id}` },
  element("h2", { id: `title-${panel.id}` }, panel.title),
  element("p", { class: "help" }, panel.help), body);
  document.getElementById("panels").append(section);
  document.getElementById("contents").append(
    element("a", { id: `to-${panel.id}`, href: `#panel-${panel.id}`, onclick: (event) => {
      event.preventDefault(); // the address holds the state
      section.scrollIntoView();
      section.querySelector("canvas, button, input, select")?.focus({ preventScroll: true });
    } }, panel.title));
  panel.make(body, lab);
  return section;
}

/** Draw at the next frame; `changed` says that all panels are out of date. */
function schedule(changed = true) {
  if (changed) for (const panel of panels) stale.add(panel);
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(draw);
}

function draw() {
  scheduled = false;
  const began = performance.now();
  const scene = lab.scene.update(getState());
  const root = document.documentElement;
  document.getElementById("toolbar").hidden = scene.run === null;
  if (scene.run !== null) updateToolbar(scene);
  for (const panel of panels) {
    const section = document.getElementById(`panel-${panel.id}`);
    section.hidden = !(panel.when ? panel.when(scene) : scene.run !== null);
    document.getElementById(`to-${panel.id}`).hidden = section.hidden;
    if (section.hidden || !stale.has(panel) || !visible.has(panel)) continue;
    drawPanel(panel, section, scene);
    stale.delete(panel);
  }
  root.dataset.drawn = (performance.now() - began).toFixed(2); // milliseconds
  root.dataset.draws = Number(root.dataset.draws ?? 0) + 1;
  root.dataset.ready = "yes";
}

/** Draw a panel; one that fails says so in its place, and does not stop the others. */
function drawPanel(panel, section, scene) {
  section.querySelector(".failure")?.remove();
  try {
    panel.draw(scene);
  } catch (error) {
    console.error(error);
    section.append(element("p", { class: "failure", role: "alert" },
      `This panel could not be drawn: ${error.message}`));
  }
}

/** Left and right move the cursor, except where the focused element uses the keys itself. */
function moveCursor(event) {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step || lab.scene.run === null || event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.target.matches("input, select, textarea, canvas, [contenteditable]")) return;
  const at = Math.max(0, Math.min(lab.scene.steps - 1, lab.scene.at + step));
  setState({ step: at });
  event.preventDefault();
}

start();
