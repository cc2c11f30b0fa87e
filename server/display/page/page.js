"use strict";
(() => {
  const { element, count, table, section, card, given, listen, press } = Parts;
  const FIGURES = { roc_auc: "ROC AUC", average_precision: "average precision", f1: "F1",
    mcc: "MCC", precision: "precision", recall: "recall" };
  const COMPARED = { roc_auc: "AUC", average_precision: "AP", best_f1: "best F1", mcc: "MCC" };
  const PHASES = ["training", "evaluating", "transfer", "waiting"];
  const COLOURS = ["#0b7bc1", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#7b61d9",
    "#8c564b"];
  const MOST_LINES = 16;

  const percent = (value) => (typeof value === "number" ? (100 * value).toFixed(2) : "-");
  const points = (value) =>
    typeof value === "number" ? (value >= 0 ? "+" : "") + (100 * value).toFixed(2) : "-";
  const seconds = (value) => (typeof value === "number" ? value.toFixed(value < 10 ? 2 : 0) : "-");
  const megabytes = (value) => (typeof value === "number" ? (value / 1e6).toFixed(2) : "-");
  const last = (values) => (values.length ? values[values.length - 1] : null);
  // of the last round that was measured: not every round need be
  const lastKnown = (values) => last(values.filter((one) => one !== null));

  // ---- charts -------------------------------------------------------------------------------

  const drawings = [];
  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  // A place for a chart, drawn once it is on the page, and again where dark and light change.
  // legend: names, in the order of COLOURS.
  function chart(words, legend, draw) {
    if (typeof Bokeh === "undefined" || !legend.length) return null;
    const place = element("div", { role: "img", "aria-label": words });
    drawings.push(() => {
      place.replaceChildren();
      const figure = draw();
      dress(figure);
      Bokeh.Plotting.show(figure, place);
    });
    const keys = legend.map((name, number) => {
      const swatch = element("i", {});
      swatch.style.background = COLOURS[number % COLOURS.length];
      return element("li", {}, swatch, name);
    });
    return element("div", { class: "plot" }, place, element("ul", { class: "legend" }, ...keys));
  }

  function dress(figure) {
    const ink = colour("--ink"), line = colour("--line"), paper = colour("--paper");
    figure.background_fill_color = paper;
    figure.border_fill_color = paper;
    figure.outline_line_color = line;
    figure.toolbar.logo = null;
    for (const axis of [...figure.xaxes, ...figure.yaxes]) {
      axis.axis_label_text_color = ink;
      axis.axis_label_text_font_style = "normal";
      axis.major_label_text_color = ink;
      axis.axis_line_color = line;
      axis.major_tick_line_color = line;
      axis.minor_tick_line_color = null;
    }
    for (const grid of [...figure.xgrids, ...figure.ygrids]) grid.grid_line_color = line;
    if (figure.title && typeof figure.title === "object") figure.title.text_color = ink;
  }

  function figureOf(title, xLabel, yLabel, more) {
    return Bokeh.Plotting.figure({ title, height: 270, sizing_mode: "stretch_width",
      tools: "pan,box_zoom,reset,save", x_axis_label: xLabel, y_axis_label: yLabel, ...more });
  }

  const numbers = (values) => values.map((one) => (typeof one === "number" ? one : NaN));

  // lines: [name, rounds, values]
  function curves(title, yLabel, lines) {
    const names = lines.map((one) => one[0]);
    // without the rounds that nobody measured, between which there would be no line
    lines = lines.map(([name, xs, ys]) => {
      const known = xs.map((x, place) => [x, ys[place]]).filter((one) => typeof one[1] === "number");
      return [name, known.map((one) => one[0]), known.map((one) => one[1])];
    });
    return chart(`${title}, a line each for ${names.join(", ")}`, names, () => {
      const figure = figureOf(title, "round", yLabel);
      lines.forEach(([, xs, ys], place) => {
        const shown = { color: COLOURS[place % COLOURS.length], line_width: 2 };
        figure.line(numbers(xs), numbers(ys), shown);
        if (xs.length === 1) figure.scatter(numbers(xs), numbers(ys), { ...shown, size: 6 });
      });
      return figure;
    });
  }

  // ---- the parts of the page ----------------------------------------------------------------

  function head(run) {
    const status = run.summary.status || "not ended";
    const done = run.overall.round.length ? last(run.overall.round) : 0;
    const owners = Object.keys(run.nodes).length;
    return element("header", {},
      element("h1", {}, `Run ${run.name}`),
      element("p", {}, element("span",
        { class: `badge ${status === "completed" ? "good" : "bad"}` }, status), " ",
      `${count(done)} of ${count(run.rounds)} rounds of recipe ${run.recipe_name}, `,
      `${count(owners)} owners, secure sums ${run.secure ? "on" : "off"}`),
      run.summary.error ? element("p", { class: "bad" }, run.summary.error) : null);
  }

  function cards(run) {
    const all = run.overall;
    const sum = (values) => values.reduce((a, b) => a + b, 0);
    const bytes = sum(all.bytes_sent) + sum(all.bytes_received);
    return element("div", { class: "cards" },
      card("ROC AUC, %", percent(lastKnown(all.roc_auc))),
      card("average precision, %", percent(lastKnown(all.average_precision))),
      card("F1, %", percent(lastKnown(all.f1))), card("MCC, %", percent(lastKnown(all.mcc))),
      card("held-out rows", count(last(all.rows.filter((one) => one > 0)) || 0)),
      card("seconds in rounds", seconds(sum(all.seconds.filter((one) => one !== null)))),
      card("MB moved", megabytes(bytes)));
  }

  function curvesOf(runs) {
    const named = (run, name) => (runs.length > 1 ? `${run.name}: ${name}` : name);
    runs = runs.filter((run) => run.overall.round.length);
    if (!runs.length) return section("Curves", element("p", {}, "No round is complete yet."));
    const losses = runs.flatMap((run) => [
      [named(run, "training"), run.overall.round, run.overall.loss],
      [named(run, "held-out"), run.overall.round, run.overall.held_out_loss]]);
    const main = runs.length > 1 ? ["roc_auc", "f1"] : ["roc_auc", "average_precision", "f1", "mcc"];
    const figures = runs.flatMap((run) => main.map((name) =>
      [named(run, FIGURES[name]), run.overall.round, scaled(run.overall[name])]));
    return section("Curves", note(), element("div", { class: "plots" },
      curves("Loss", "nats a row", losses),
      curves("On all owners' held-out rows", "%", figures)));
  }

  const scaled = (values) => values.map((one) => (typeof one === "number" ? 100 * one : null));
  function note() {
    return typeof Bokeh === "undefined" ? element("p", { class: "soft" },
      "No charts: BokehJS was not installed when this page was made. ",
      "pip install --no-deps -r requirements-report.txt, then python -m server show RUN.") : null;
  }

  function ownersOf(run) {
    const names = Object.keys(run.by_node);
    const parts = [ownersTable(run, names)];
    const with_curves = names.filter((name) => run.by_node[name].roc_auc.some((one) => one !== null));
    if (with_curves.length && typeof Bokeh !== "undefined") {
      const chosen = element("select", { id: "owner-figure" },
        ...Object.entries(FIGURES).map(([key, words]) => element("option", { value: key }, words)));
      const place = element("div", {});
      const draw = () => {
        const lines = with_curves.slice(0, MOST_LINES).map((name) =>
          [name, run.by_node[name].round, scaled(run.by_node[name][chosen.value])]);
        place.replaceChildren(curves(`${FIGURES[chosen.value]}, each owner`, "%", lines));
        drawings.pop()();
      };
      chosen.addEventListener("change", draw);
      drawings.push(draw);
      parts.push(element("label", {}, "Each owner's ", chosen), place);
      if (with_curves.length > MOST_LINES) {
        parts.push(element("p", { class: "soft" }, `The first ${MOST_LINES} of ${count(with_curves.length)} owners are drawn; the table has all.`));
      }
    }
    return section("Owners", ...parts);
  }

  function ownersTable(run, names) {
    const left = (one) => one.left_out.reduce((sum, [from, to]) => sum + to - from + 1, 0);
    const rows = names.map((name) => {
      const one = run.by_node[name], figures = one.last || {};
      return [name, count(figures.train_rows), count(figures.rows), percent(figures.roc_auc),
        percent(figures.average_precision), percent(figures.f1), percent(figures.mcc),
        count(one.round.length), count(left(one)),
        megabytes(one.bytes_sent + one.bytes_received)];
    });
    return table("In the last measured round that each took part in, on its own held-out rows",
      ["owner", "rows", "held out", "AUC %", "AP %", "F1 %", "MCC %", "rounds", "left out",
        "MB"], rows);
  }

  function worthOf(run) {
    const found = run.comparison;
    if (!found) {
      return section("Worth joining?", element("p", { class: "soft" },
        `Nobody compared yet. python -m server compare ${run.name} has each node train alone too.`));
    }
    const parts = Object.entries(COMPARED).map(([key, words]) => {
      const mean = found.mean[key];
      return element("p", {}, `${words}: ${count(mean.better)} of ${count(mean.owners)} owners surely `,
        `better off together, ${count(mean.worse)} surely better off alone (95 %); `,
        `on average ${points(mean.gain)} points.`);
    });
    const gain = (one) => element("span",
      { class: one.low > 0 ? "good" : one.high !== null && one.high < 0 ? "bad" : "" },
      points(one.gain), typeof one.low === "number"
        ? ` (${points(one.low)} to ${points(one.high)})` : "");
    const cells = (figures) => Object.keys(COMPARED).flatMap((key) => [
      percent(figures[key].alone), percent(figures[key].federated), gain(figures[key])]);
    const rows = Object.entries(found.owners).map(([name, one]) =>
      [name, count(one.rows), ...cells(one.figures)]);
    if (rows.length > 1) {
      rows.push(["mean of owners", "", ...cells(found.mean)]);
      rows.push(["worst of owners", "", ...cells(found.worst_off)]);
    } else if (!rows.length) rows.push(["mean of owners", "", ...cells(found.mean)]);
    const headings = Object.values(COMPARED).flatMap((words) =>
      [`${words} % alone`, "federated", "gain (95 %)"]);
    parts.push(table(`Each owner trained ${count(found.rounds)} rounds alone; both models on its own held-out rows`,
      ["owner", "rows", ...headings], rows));
    for (const [name, why] of Object.entries(found.left_out)) {
      parts.push(element("p", { class: "soft" }, `${name} is not in it: ${why}`));
    }
    return section("Worth joining?", ...parts);
  }

  function presence(run) {
    const names = Object.keys(run.by_node);
    const gone = names.flatMap((name) => run.by_node[name].left_out.map(([from, to, why]) =>
      [name, from === to ? count(from) : `${count(from)} to ${count(to)}`, why]));
    const states = ["took part", "left out"];
    const words = "For each owner the rounds in which it took part, and those without it";
    const place = chart(words, run.overall.round.length ? states : [], () => {
      const figure = figureOf("", "round", "", { y_range: [...names].reverse(),
        height: Math.min(900, 110 + 22 * names.length) });
      for (const [number, state] of states.entries()) {
        const spans = names.flatMap((name) => (state === "left out"
          ? run.by_node[name].left_out.map(([from, to]) => [name, from, to])
          : spansOf(run.by_node[name].round).map(([from, to]) => [name, from, to])));
        if (!spans.length) continue;
        figure.hbar({ y: spans.map((one) => one[0]), left: spans.map((one) => one[1] - 0.5),
          right: spans.map((one) => one[2] + 0.5), height: state === "left out" ? 0.4 : 0.7,
          fill_color: COLOURS[number], line_color: null });
      }
      return figure;
    });
    return section("Who was there", place, gone.length
      ? table("Left out, and why", ["owner", "~rounds", "~why"], gone.slice(0, 500))
      : element("p", {}, "Every node that was asked took part in every round."));
  }

  function spansOf(rounds) {
    const spans = [];
    for (const number of rounds) {
      if (spans.length && spans[spans.length - 1][1] === number - 1) spans[spans.length - 1][1] = number;
      else spans.push([number, number]);
    }
    return spans;
  }

  function costs(run) {
    const names = Object.keys(run.by_node);
    const rows = names.map((name) => {
      const one = run.by_node[name];
      return [name, ...PHASES.map((phase) => seconds(one.seconds[phase])),
        megabytes(one.bytes_sent), megabytes(one.bytes_received)];
    });
    const phases = run.overall.round.length ? PHASES : [];
    const place = chart("Seconds of each owner's node by phase", phases, () => {
      const figure = figureOf("Seconds by phase", "seconds", "", { y_range: [...names].reverse(),
        height: Math.min(900, 110 + 22 * names.length) });
      const left = names.map(() => 0);
      PHASES.forEach((phase, number) => {
        const right = names.map((name, place) => left[place] + run.by_node[name].seconds[phase]);
        figure.hbar({ y: names, left: [...left], right, height: 0.7, line_color: null,
          fill_color: COLOURS[number] });
        right.forEach((value, place) => { left[place] = value; });
      });
      return figure;
    });
    return section("Where time and bytes went", place,
      table("Seconds by phase, and MB from the coordinator's side", ["owner", ...PHASES, "MB to it",
        "MB from it"], rows));
  }

  function threshold(run) {
    if (!run.scores) {
      return section("Threshold", element("p", { class: "soft" },
        "There are no counts of scores of the newest round."));
    }
    const bins = run.bins, kept = ["ham", "spam"].map((name) =>
      Object.entries(run.scores[name]).map(([bin, many]) => [Number(bin), many]));
    const middle = -bins.lowest * bins.per_logit;
    const slider = element("input", { type: "range", id: "threshold-slider", min: 0, max: 2 * middle,
      value: middle, step: 1 });
    const shown = element("output", { for: "threshold-slider", id: "threshold-value" });
    const cells = Object.fromEntries(["tn", "fp", "fn", "tp"].map((name) =>
      [name, element("td", { id: `cell-${name}` })]));
    const matrix = element("table", { class: "matrix" },
      element("caption", {}, "Messages, by what they are and what is said of them"),
      element("tr", {}, element("th", {}), element("th", { scope: "col", class: "n" }, "said ham"),
        element("th", { scope: "col", class: "n" }, "said spam")),
      element("tr", {}, element("th", { scope: "row" }, "ham"), cells.tn, cells.fp),
      element("tr", {}, element("th", { scope: "row" }, "spam"), cells.fn, cells.tp));
    const figures = element("p", { id: "threshold-figures", "aria-live": "polite" });
    const update = () => {
      const edge = Number(slider.value);
      const split = kept.map((one) => one.reduce((sums, [bin, many]) => {
        sums[bin >= edge ? 1 : 0] += many;
        return sums;
      }, [0, 0]));
      const [[tn, fp], [fn, tp]] = split;
      Object.entries({ tn, fp, fn, tp }).forEach(([name, value]) => {
        cells[name].textContent = count(value);
      });
      const ratio = (part, of) => (of ? part / of : null);
      const root = Math.sqrt(tp + fp) * Math.sqrt(tp + fn) * Math.sqrt(tn + fp) * Math.sqrt(tn + fn);
      figures.textContent = `precision ${percent(ratio(tp, tp + fp))} %, recall `
        + `${percent(ratio(tp, tp + fn))} %, F1 ${percent(ratio(2 * tp, 2 * tp + fp + fn))} %, `
        + `MCC ${percent(ratio(tp * tn - fp * fn, root))} %`;
      const logit = edge / bins.per_logit + bins.lowest;
      shown.textContent = (1 / (1 + Math.exp(-logit))).toPrecision(3);
    };
    slider.addEventListener("input", update);
    update();
    return section("Threshold",
      element("p", {}, "All owners' held-out rows in the newest round. A message is called spam from this probability on:"),
      element("label", { for: "threshold-slider" }, "threshold ", shown), slider, matrix, figures);
  }

  function privacy(run) {
    const parts = [element("p", {}, run.secure
      ? "The coordinator saw sums over the owners alone, and no owner's own numbers."
      : "The coordinator saw each owner's trained numbers, losses and counts. No text, label or score of a message left a node.")];
    for (const [name, value] of Object.entries(run.summary.privacy || {})) {
      parts.push(element("p", {}, `${name}: ${value}`));
    }
    return section("Privacy", ...parts);
  }

  function settings(run) {
    const shown = (value) => (value !== null && typeof value === "object" ? JSON.stringify(value)
      : value === null || value === undefined ? "-" : String(value));
    const versions = [["coordinator", ...Object.entries(run.versions).map((one) => one.join(" "))]
      .join(" ")].concat(Object.entries(run.nodes).map(([name, one]) =>
      `${name}: ${Object.entries(one.versions || {}).map((pair) => pair.join(" ")).join(" ") || "-"}`));
    return section("Settings and versions",
      element("details", {}, element("summary", {}, "Settings"),
        table("As settings.json has them", ["setting", "~value"],
          Object.entries(run.settings).map(([name, value]) => [name, shown(value)]))),
      element("details", {}, element("summary", {}, "Versions"),
        ...versions.map((words) => element("p", {}, words))));
  }

  function sideBySide(runs) {
    const rows = [["rounds", ...runs.map((run) => count(last(run.overall.round)))],
      ...Object.entries(FIGURES).map(([key, words]) =>
        [`${words} %`, ...runs.map((run) => percent(last(run.overall[key])))]),
      ["seconds", ...runs.map((run) => seconds(run.overall.seconds.reduce((a, b) => a + b, 0)))],
      ["MB", ...runs.map((run) => megabytes(run.overall.bytes_sent.reduce((a, b) => a + b, 0)
        + run.overall.bytes_received.reduce((a, b) => a + b, 0)))]];
    const keys = [...new Set(runs.flatMap((run) => Object.keys(run.settings)))];
    const texts = keys.map((key) => [key, ...runs.map((run) => JSON.stringify(run.settings[key]) ?? "-")]);
    const other = texts.filter(([, ...values]) => new Set(values).size > 1);
    return [element("h1", {}, runs.map((run) => run.name).join(" and ")),
      section("Side by side", table("After the last round", ["", ...runs.map((run) => run.name)], rows)),
      curvesOf(runs),
      section("What was set otherwise", table("Settings that differ",
        ["setting", ...runs.map((run) => `~${run.name}`)], other))];
  }

  function show(data) {
    drawings.length = 0;
    const runs = data.runs, run = runs[0];
    const parts = runs.length > 1 ? sideBySide(runs) : [head(run), cards(run), curvesOf(runs),
      ownersOf(run), worthOf(run), threshold(run), presence(run), costs(run), privacy(run),
      settings(run)];
    Parts.show(...parts);
    draw();
  }

  // ---- while a run goes on -------------------------------------------------------------------

  const now = { run: null, nodes: {}, notices: [], ended: false, redrawing: 0 };

  function nowOf() {
    const rows = Object.entries(now.nodes).sort().map(([name, [number, stage, done, total, loss]]) =>
      [name, count(number), stage, total ? element("progress", { max: total, value: done,
        "aria-label": `${name}: ${done} of ${total}` }) : "-",
      typeof loss === "number" ? loss.toFixed(4) : "-"]);
    return [element("p", { role: "status" }, now.ended ? "The run has ended." : "The run goes on."),
      table("What each node does", ["node", "round", "~stage", "~progress", "loss"], rows),
      ...now.notices.slice(-20).map(([number, node, text]) => element("p", { class: "soft" },
        `${number ? `round ${number}: ` : ""}${node ? `node ${node} ` : ""}${text}`))];
  }

  function stopButton() {
    const button = element("button", { id: "stop", type: "button" }, "Stop the run");
    button.addEventListener("click", () => {
      button.disabled = true;
      button.textContent = "Stopping";
      press("stop").catch(() => { button.textContent = "Stopped"; });
    });
    return button;
  }

  function showNow() {
    const place = document.getElementById("now-place");
    if (place) place.replaceChildren(...nowOf());
    const button = document.getElementById("stop");
    if (button && now.ended) button.hidden = true;
  }

  function redraw() {
    now.redrawing = 0;
    const run = now.run, top = scrollY;
    drawings.length = 0;
    if (typeof Bokeh !== "undefined") for (const one of Bokeh.documents.splice(0)) one.clear();
    const rest = run === null ? [element("h1", {}, "A run that begins")] : [head(run), cards(run)];
    const charts = run === null ? [] : [curvesOf([run]),
      section("Owners", ownersTable(run, Object.keys(run.by_node))), presence(run)];
    const button = document.getElementById("stop") || stopButton();
    Parts.show(...rest,
      section("Now", button, element("div", { id: "now-place" })), ...charts);
    showNow();
    draw();
    scrollTo(0, top);
  }

  const soon = () => { if (!now.redrawing) now.redrawing = setTimeout(redraw, 1000); };

  function add(kept, more) {
    for (const [name, values] of Object.entries(more)) {
      if (Array.isArray(values)) kept[name] = (kept[name] || []).concat(values);
      else if (typeof values === "number") kept[name] = (kept[name] || 0) + values;
      else if (name === "last") kept.last = values || kept.last;
      else if (values !== null && typeof values === "object") add(kept[name] ||= {}, values);
    }
  }

  function follow() {
    const close = listen({
      run: (all) => {
        Object.assign(now, { run: all.run, nodes: all.nodes, notices: all.notices });
        redraw();
      },
      round: (more) => {
        const known = now.run ? last(now.run.overall.round) || 0 : -1;
        const number = more.overall.round[0];
        if (number <= known) return;
        if (now.run === null || number !== known + 1 && !now.run.secure) {
          close();  // something is missing: all of it comes anew
          follow();
          return;
        }
        add(now.run.overall, more.overall);
        add(now.run.by_node, more.by_node);
        soon();
      },
      nodes: (all) => { now.nodes = all.nodes; showNow(); },
      notice: (one) => { now.notices.push(one.notice); showNow(); },
      end: () => {
        close();
        now.ended = true;
        redraw();
        document.documentElement.dataset.ended = "yes";
      },
    }, (isOver) => { if (isOver) { now.ended = true; showNow(); } });
  }

  function draw() {
    for (const one of [...drawings]) one();
    document.documentElement.dataset.drawn = String(drawings.length);
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  const came = given();
  if (came.live) follow(); else show(came);
})();
