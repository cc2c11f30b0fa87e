"use strict";
(() => {
  const { element, count, table, section, card, listen, press } = Parts;
  const MOST_LINES = 200;
  const MOST_OVER = 20;  // questions that are over, and keep their room while others wait
  const SETTLE = 800;  // ms
  const now = { facts: null, lines: [], taken: 0, lost: false, ended: false };
  const places = {};  // parts that stay, by name, so that the keyboard's place does too

  const time = (stamp) => (stamp ? new Date(stamp).toLocaleString() : "-");
  const epsilon = (value) => (typeof value === "number" ? value.toFixed(2) : "-");
  const spent = (value) => (value === null ? "without bound" : epsilon(value));
  const bytes = (value) => `${count(value)} B`;
  const isOver = () => now.lost || now.ended;

  function button(id, words, act, facts) {
    const made = element("button", { type: "button", id, ...facts }, words);
    made.addEventListener("click", act);
    return made;
  }

  function state() {
    const facts = now.facts, paused = facts.paused_since;
    const words = now.ended ? "has stopped" : now.lost ? "does not answer"
      : paused ? "paused" : "serves";
    return [element("p", { role: "status" },
      element("span", { class: `badge ${words === "serves" ? "good" : "bad"}`, id: "state" }, words),
      " ", isOver() ? "This page shows what was so before."
        : paused ? `Since ${time(paused)} nothing is begun, and nothing that tells of your rows leaves.`
          : facts.busy ? `It is ${facts.busy}.` : "It does nothing just now."),
    element("p", { class: "soft" }, `${count(facts.rows.train)} messages to train on, `,
      `${count(facts.rows.held_out)} to measure with. Coordinators: ${facts.described.coordinators}.`)];
  }

  // ---- what the owner is asked ----------------------------------------------------------------

  const asked = new Map();  // number of a question that waits -> its place

  // One that is withdrawn keeps its room, so that nothing moves under a finger; where something
  // does, and where a question is new, a press that was meant for something else does nothing.
  function questions() {
    const there = isOver() ? [] : now.facts.questions;
    const before = new Map([...asked].map(([number, place]) => [number, place.offsetTop]));
    for (const [number, place] of asked) {
      if (there.some((one) => one.number === number)) continue;
      asked.delete(number);
      place.dataset.over = "yes";
      for (const one of place.querySelectorAll("button")) one.disabled = true;
      place.querySelector(".soft").textContent = place.dataset.answered
        ? `You said ${place.dataset.answered}.` : "No longer asked.";
    }
    for (const one of there) {
      if (asked.has(one.number)) continue;
      asked.set(one.number, question(one));
      places.questions.append(asked.get(one.number));
    }
    const over = [...places.questions.querySelectorAll("[data-over]")];
    for (const one of over.slice(0, asked.size ? -MOST_OVER : over.length)) one.remove();
    for (const [number, place] of asked) {
      if (before.get(number) !== place.offsetTop) settle(place);
    }
  }

  function question({ number, question: words, until }) {
    const say = (answer) => () => {
      for (const one of place.querySelectorAll("button")) one.disabled = true;
      place.dataset.answered = answer;
      press(`answer/${number}/${answer}`).catch(() => {});
    };
    const place = element("div", { class: "card question", role: "group", "aria-label": words },
      element("p", {}, words),
      element("p", { class: "soft" }, `Silence until ${time(until)} is a no.`),
      button(`yes-${number}`, "Yes", say("yes")), " ", button(`no-${number}`, "No", say("no")));
    return place;
  }

  function settle(place) {
    const held = document.activeElement;
    for (const one of place.querySelectorAll("button")) one.disabled = true;
    setTimeout(() => {
      if (place.dataset.answered || place.dataset.over) return;
      for (const one of place.querySelectorAll("button")) one.disabled = false;
      if (place.contains(held) && document.activeElement === document.body) held.focus();
    }, SETTLE);
  }

  // ---- what was asked, and what left ----------------------------------------------------------

  function cards() {
    const sum = (name) => now.facts.asked.reduce((all, one) => all + one[name], 0);
    return element("div", { class: "cards" }, card("bytes out", count(sum("bytes_out"))),
      card("requests answered", count(sum("answered"))), card("refused", count(sum("refused"))),
      card("failed", count(sum("failed"))));
  }

  const who = (one) => (one.proved || one.is_proved || !one.who ? one.who : `${one.who} (not proved)`);

  function coordinators() {
    const rows = now.facts.asked.map((one) => [who(one) || "somebody",
      Object.entries(one.kinds).map(([what, many]) => `${what} ${count(many)}`).join(", "),
      count(one.answered), count(one.refused), count(one.failed), bytes(one.bytes_out),
      time(one.last)]);
    return rows.length ? table("Since the node began; bytes with all headers",
      ["coordinator", "~asked for", "answered", "refused", "failed", "out", "~last"], rows)
      : element("p", {}, "Nobody asked for anything since the node began.");
  }

  function refused() {
    const rows = Object.entries(now.facts.refused).map(([rule, one]) =>
      [rule, count(one.times), one.who || "somebody", one.what, time(one.last)]);
    return rows.length ? table("Rules of policy.toml, and who asked last for what they forbid",
      ["rule", "times", "~last to", "~for", "~when"], rows)
      : element("p", {}, "Nothing was refused since the node began.");
  }

  const today = () => [table("For all coordinators together",
    ["", "done today", "at most"], now.facts.today.map(([what, done, most]) =>
      [what, count(done), count(most)])),
  element("p", { class: "soft" }, `Policy: ${now.facts.described.policy}.`)];

  function budget() {
    const { is_on: isOn, delta, parts, runs } = now.facts.budget;
    if (!isOn && !runs.length) {
      return [element("p", {}, "The policy demands no noise, and nothing was told with any.")];
    }
    return [table(`Epsilon at delta ${delta}`,
      ["rows", "spent", "towards all others together", "at most", "largest run that fits",
        "~of each"],
      Object.entries(parts).map(([name, one]) => [name, spent(one.epsilon),
        spent(one.alone), one.most === null ? "no bound" : epsilon(one.most), epsilon(one.left),
        one.unit])),
    runs.length ? table("Runs that were told something with noise",
      ["coordinator", "~run", "~rows", "told", "of", "epsilon", "~", "~of each"],
      runs.map((one) => [one.coordinator, one.run, one.part, count(one.told), count(one.releases),
        epsilon(one.epsilon), one.over ? "over" : "counts as a whole until it is over",
        one.unit])) : null];
  }

  function verdict() {
    const { state: found, words, time: when } = now.facts.log;
    const shown = { whole: "good", faulty: "bad" }[found] || "soft";
    const heading = { whole: "It verifies.", faulty: "It does NOT verify.", checking: "Reading it.",
      off: "", "not checked": "Not checked yet." }[found];
    return [element("p", { class: shown, id: "verdict" }, heading),
      element("p", {}, words, when ? ` Checked ${time(when)}.` : "")];
  }

  function lines() {
    const rows = [...now.lines].reverse().map((one) => [time(one.time), who(one) || "this node",
      one.object ? `${one.what} ${one.object}` : one.what, one.decision, bytes(one.bytes_out),
      one.detail]);
    return table("The newest first", ["time", "~who", "~what", "~decision", "out", "~detail"], rows);
  }

  // ---- the page -------------------------------------------------------------------------------

  function build() {
    for (const name of ["state", "questions", "cards", "asked", "refused", "today", "budget",
      "verdict", "lines"]) places[name] = element("div", { id: `${name}-place` });
    places.questions.setAttribute("aria-live", "assertive");
    places.pause = button("pause", "",
      () => press(now.facts.paused_since ? "go-on" : "pause").catch(() => {}));
    places.check = button("check", "Check it again", () => press("check").catch(() => {}));
    Parts.show(element("h1", {}, `Node ${now.facts.node}`), places.state, places.pause,
      places.questions, places.cards,
      section("Who asked for what, and what left", places.asked),
      section("Refused", places.refused), section("Today", places.today),
      section("Privacy budget", places.budget),
      section("The log", places.verdict, places.check),
      section("Newest lines of the log", places.lines));
  }

  // What is as it was is left alone, and with it what the owner has selected there.
  const shown = {};
  const fill = (name, inputs, make) => {
    const key = JSON.stringify(inputs);
    if (shown[name] === key) return;
    shown[name] = key;
    const parts = [make()].flat();
    const scrolled = [...places[name].querySelectorAll(".scroll")].map((one) => one.scrollLeft);
    const held = places[name].contains(document.activeElement)
      ? [...places[name].querySelectorAll(".scroll")].indexOf(document.activeElement) : -1;
    places[name].replaceChildren(...parts.filter((one) => one !== null));
    const made = places[name].querySelectorAll(".scroll");
    scrolled.forEach((left, place) => { if (made[place]) made[place].scrollLeft = left; });
    if (held >= 0 && made[held]) made[held].focus({ preventScroll: true });
  };

  function show() {
    if (now.facts === null) return;
    if (!places.state) build();
    const { facts } = now;
    fill("state", [facts.busy, facts.paused_since, isOver(), now.ended], state);
    questions();
    fill("cards", facts.asked, cards);
    fill("asked", facts.asked, coordinators);
    fill("refused", facts.refused, refused);
    fill("today", facts.today, today);
    fill("budget", facts.budget, budget);
    fill("verdict", facts.log, verdict);
    fill("lines", [now.taken, now.lines.length], lines);
    places.pause.textContent = now.facts.paused_since ? "Go on" : "Pause";
    places.pause.disabled = isOver();
    places.check.hidden = now.facts.log.state === "off";
    places.check.disabled = isOver() || now.facts.log.state === "checking";
    document.documentElement.dataset.drawn = String(now.taken);
  }

  function take(facts) {
    now.facts = facts;
    const fresh = Math.min(facts.taken - now.taken, facts.lines.length);
    if (fresh > 0) now.lines = [...now.lines, ...facts.lines.slice(-fresh)].slice(-MOST_LINES);
    now.taken = facts.taken;
    now.lost = false;
    show();
  }

  const close = listen({
    all: (facts) => {
      now.lines = facts.lines;
      take({ ...facts, lines: [] });
    },
    now: (facts) => { if (facts.taken >= now.taken) take(facts); },
    end: () => { close(); now.ended = true; show(); },
  }, () => { now.lost = !now.ended; show(); });
})();
