// A training that is running: its server tells the page what is new, epoch by epoch.

import { element, fill } from "./dom.js";

/** Follow the training that the page was served by; `lab.setRun` gets every new epoch. */
export function followTraining(lab) {
  const status = element("p", { id: "live-status", role: "status" }, "Waiting for the training ...");
  document.getElementById("notes").append(status);
  const source = new EventSource("events");
  let heard = false;
  source.onopen = () => {
    heard = false; // the server tells all from the beginning
  };
  source.onmessage = ({ data }) => {
    const news = JSON.parse(data);
    lab.setRun(0, mergeNews(heard ? lab.scene.runs[0] : startOf(lab.payload.runs[0]), news));
    heard = true;
    fill(status, describeNews(lab.scene.runs[0], news, lab.payload.planned_epochs));
    Object.assign(document.documentElement.dataset,
      { epoch: lab.scene.runs[0].history.epoch?.length ?? 0, training: news.state });
    if (news.state === "complete") source.close();
  };
  source.onerror = () => {
    fill(status, "The training does not answer: it has ended, or was stopped. What the page has"
      + " stays; it goes on if the training answers again.");
  };
}

function startOf(run) {
  return { ...run, history: {}, epochs: [], initial: run.weights };
}

/** A run with what a message of the server adds; see elman.runs.watching.News. */
export function mergeNews(run, news) {
  const epochs = run.epochs.filter((kept) => news.epochs.includes(kept.epoch));
  if (news.weights !== null && !epochs.some((kept) => kept.epoch === news.epoch)) {
    epochs.push({ epoch: news.epoch, weights: news.weights });
    epochs.sort((a, b) => a.epoch - b.epoch);
  }
  const best = epochs.find((kept) => kept.epoch === news.kept_epoch);
  const shown = best ?? epochs[epochs.length - 1];
  return {
    ...run, epochs,
    kept_epoch: news.kept_epoch,
    history: joinRecords(run.history, news.first, news.records),
    weights: shown?.weights ?? run.weights,
  };
}

/** Curves by name with the records of further epochs, from the index `first` on. */
function joinRecords(history, first, records) {
  const names = new Set([...Object.keys(history), ...records.flatMap((each) => Object.keys(each))]);
  return Object.fromEntries([...names].map((name) => {
    const before = Array.from({ length: first }, (_, i) => history[name]?.[i] ?? null);
    return [name, [...before, ...records.map((each) => each[name] ?? null)]];
  }));
}

function describeNews(run, news, planned) {
  const done = run.history.epoch?.length ?? 0;
  if (news.state === "complete") {
    const kept = news.kept_epoch === null ? "" : `; the weights of epoch ${news.kept_epoch} are kept`;
    return `The training has ended after ${done} epochs${kept}. elman lab RUN writes this page to a file.`;
  }
  if (news.state === "evaluation") return `Trained for ${done} epochs; the test part is evaluated.`;
  const last = run.epochs[run.epochs.length - 1]?.epoch;
  const behind = last === undefined
    ? " No weights are kept, so only the curves grow (--keep-epochs 20)." : "";
  return `Training: epoch ${done} of ${planned} has ended.${behind}`;
}
