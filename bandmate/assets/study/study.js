// The pages of the study, one after the other: welcome, headphone check, pairs, thanks.

import { Player } from "./player.js";

const $ = (selector) => document.querySelector(selector);
const $$ = (selector) => [...document.querySelectorAll(selector)];
const player = new Player(draw);
const names = { a: "A", b: "B", input: "the band alone", tones: "the tones" };

let study = null; // what the server tells of it
let state = null; // participant, how many are done, the next trial
let check = null; // {sounds, answers} of the headphone check
let page = "";
let retry = start;
let busy = false;

// What is remembered on this device: the random number, so that a reload goes on.
const memory = {
  key: () => `bandmate-study-${study.id}`,
  get() {
    try { return localStorage.getItem(this.key()); } catch { return null; }
  },
  set(value) {
    try { value ? localStorage.setItem(this.key(), value) : localStorage.removeItem(this.key()); } catch { /* private window */ }
  },
};

async function ask(path, content) {
  const post = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content) };
  const answer = await fetch(path, content === undefined ? {} : post);
  const told = await answer.json().catch(() => null);
  if (!answer.ok || !told) throw Object.assign(new Error(told?.error ?? "no answer from the study"), { status: answer.status });
  return told;
}

function show(name) {
  page = name;
  for (const section of $$("section")) section.hidden = section.id !== name;
  $(`#${name} h1`).focus();
  window.scrollTo(0, 0);
}

function trouble(text, again) {
  player.stop();
  retry = again;
  $("#trouble-text").textContent = text;
  show("trouble");
}

async function start() {
  try {
    study = await ask("api/study");
    const known = memory.get();
    state = known ? await ask(`api/participants/${encodeURIComponent(known)}`).catch(forgotten) : null;
  } catch {
    return trouble("The study cannot be reached. Please check your connection.", start);
  }
  document.title = study.title;
  $("[data-title]").textContent = study.title;
  $("[data-trials]").textContent = study.trials;
  $("[data-minutes]").textContent = Math.max(1, Math.round((study.trials * (3 * study.seconds + 6)) / 60));
  if (state) await proceed();
  else show("welcome");
}

function forgotten(error) {
  if (error.status !== 404) throw error;
  memory.set(null);
  return null;
}

async function begin() {
  if (!study.check.length) return register({});
  check = { sounds: study.check, answers: {} };
  $("#check-note").textContent = "";
  await tonesReady();
}

async function tonesReady() {
  const done = Object.keys(check.answers).length;
  try {
    await player.load({ tones: `audio/${check.sounds[done]}` });
  } catch {
    return trouble("A sound could not be loaded. Please check your connection.", tonesReady);
  }
  $("[data-check-step]").textContent = `Headphone check, ${done + 1} of ${check.sounds.length}`;
  if (page !== "check") show("check");
  draw();
}

async function toneAnswered(tone) {
  if (page !== "check" || busy || !(player.heard.tones > 0)) return;
  check.answers[check.sounds[Object.keys(check.answers).length]] = tone;
  say("#check-note", "");
  if (Object.keys(check.answers).length < check.sounds.length) return exclusively(tonesReady);
  player.stop();
  return exclusively(() => register(check.answers));
}

async function register(answers) {
  try {
    const told = await ask("api/participants", { check: answers });
    if (told.passed) {
      state = told;
      memory.set(told.participant);
      return proceed();
    }
    study = await ask("api/study"); // other tones
  } catch {
    return trouble("The study cannot be reached. Please check your connection.", () => register(answers));
  }
  await begin();
  say("#check-note", "Not all were right. Are the headphones on, in both ears? Please try again.", true);
}

async function proceed() {
  if (!state.trial) {
    player.stop();
    return show("thanks");
  }
  const { a, b, input, instrument } = state.trial;
  try {
    await player.load({ a: `audio/${a}`, b: `audio/${b}`, input: `audio/${input}` });
  } catch {
    return trouble("A sound could not be loaded. Please check your connection.", proceed);
  }
  $("#answer").reset();
  $("[data-step]").textContent = `Pair ${state.done + 1} of ${state.of}`;
  $("[data-instrument]").textContent = listenFor(instrument);
  $(".progress").setAttribute("aria-valuemax", state.of);
  $(".progress").setAttribute("aria-valuenow", state.done);
  $(".progress span").style.transform = `scaleX(${state.done / state.of})`;
  say("#note", "");
  show("trial");
  draw();
  for (const name of state.ahead) fetch(`audio/${name}`).catch(() => {}); // so that the next pair is there at once
}

function listenFor(instrument) {
  const told = { Percussive: "drums", Unknown: "", "Sound Effects": "effects", "Synth Effects": "synthesiser", Reed: "reed instrument", Pipe: "flute or pipe", Ethnic: "plucked or folk instrument", Vocal: "voice" };
  const name = told[instrument] ?? instrument.toLowerCase();
  return name && `Listen for: ${name}`;
}

async function answer() {
  const chosen = $("#answer input:checked");
  if (page !== "trial" || busy || !chosen || !ready()) return;
  player.pause();
  await exclusively(async () => {
    try {
      state = await ask("api/answers", { participant: state.participant, trial: state.trial.trial, choice: chosen.value });
    } catch (error) {
      return say("#note", `Your answer was not saved (${error.message}). Please press Next again.`, true);
    }
    await proceed();
  });
}

async function exclusively(what) {
  busy = true;
  try { await what(); } finally { busy = false; draw(); }
}

function say(where, text, warn = false) {
  $(where).textContent = text;
  $(where).classList.toggle("warn", warn);
}

const ready = () => ["a", "b"].every((name) => player.heard[name] >= Math.min(study.listen, player.length - 0.1));

// The page as the player is: called whenever something starts, stops or moves on.
function draw() {
  if (page === "check") {
    $("#tones").classList.toggle("on", player.playing);
    $("[data-tones]").textContent = player.playing ? "Playing …" : player.heard.tones > 0 ? "Play them again" : "Play the three tones";
    for (const button of $$("[data-tone]")) button.disabled = busy || !(player.heard.tones > 0);
  }
  if (page !== "trial") return;
  for (const button of $$("[data-play]")) {
    const name = button.dataset.play;
    const on = player.playing && player.active === name;
    button.classList.toggle("on", on);
    button.classList.toggle("heard", player.heard[name] > 0);
    button.setAttribute("aria-pressed", on);
  }
  $(".playhead span").style.transform = `scaleX(${player.length ? player.place / player.length : 0})`;
  $("#answer fieldset").disabled = !ready();
  $("#next").disabled = busy || !ready() || !$("#answer input:checked");
  $("#next").textContent = state.done + 1 === state.of ? "Finish" : "Next";
  if (!$("#note").classList.contains("warn")) hint();
}

function hint() {
  const rest = ["a", "b"].filter((name) => !(player.heard[name] >= Math.min(study.listen, player.length - 0.1)));
  const text = { 0: "", 1: `Listen to ${names[rest[0]]} for a while, too.`, 2: "Listen to both first." }[rest.length];
  if ($("#note").textContent !== text) $("#note").textContent = text;
}

function choose(value) {
  if (!ready()) return;
  const input = $(`#answer input[value="${value}"]`);
  input.checked = true;
  say("#note", "");
  draw();
}

const keys = {
  trial: {
    a: () => player.play("a"), b: () => player.play("b"), i: () => player.play("input"), r: () => player.restart(),
    " ": () => player.toggle(), 1: () => choose("a"), 2: () => choose("b"), 3: () => choose("none"), 0: () => choose("none"),
    Enter: answer,
  },
  check: { " ": () => player.toggle(), 1: () => toneAnswered(1), 2: () => toneAnswered(2), 3: () => toneAnswered(3) },
  welcome: { Enter: () => $("#begin").click() },
  trouble: { Enter: () => $("#again").click() },
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const native = event.target.closest("button, input") && ["Enter", " "].includes(event.key);
  const act = keys[page]?.[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (native || !act) return;
  event.preventDefault();
  act();
});

$("#begin").addEventListener("click", () => exclusively(begin));
$("#again").addEventListener("click", () => exclusively(() => retry()));
$("#tones").addEventListener("click", () => player.toggle());
$("#restart").addEventListener("click", () => player.restart());
for (const button of $$("[data-tone]")) button.addEventListener("click", () => toneAnswered(Number(button.dataset.tone)));
for (const button of $$("[data-play]")) button.addEventListener("click", () => player.play(button.dataset.play));
$("#answer").addEventListener("submit", (event) => { event.preventDefault(); answer(); });
$("#answer").addEventListener("change", () => { say("#note", ""); draw(); });

start();
