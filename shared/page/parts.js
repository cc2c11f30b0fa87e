"use strict";
// What pages are made of. Everything that is shown goes on them as text: no string becomes markup.
const Parts = (() => {
  function element(tag, facts, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(facts || {})) {
      if (name === "class") made.className = value;
      else made.setAttribute(name, value);
    }
    for (const child of children) {
      if (child === null || child === undefined) continue;
      made.append(child instanceof Node ? child : String(child));
    }
    return made;
  }

  const whole = new Intl.NumberFormat("en");
  const count = (value) => (typeof value === "number" ? whole.format(value) : "-");

  // Rows of cells; the first cell of each is its heading. Columns beyond the first are numbers,
  // unless their heading begins with "~".
  function table(caption, headings, rows) {
    const kind = (place) => (place && !headings[place].startsWith("~") ? "n" : "wide");
    const head = headings.map((one, place) =>
      element("th", { scope: "col", class: place ? kind(place) : "" }, one.replace(/^~/, "")));
    const body = rows.map((row) => element("tr", {}, ...row.map((cell, place) =>
      place ? element("td", { class: kind(place) }, cell)
        : element("th", { scope: "row" }, cell))));
    return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
      element("table", {}, element("caption", {}, caption),
        element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body)));
  }

  function section(title, ...children) {
    const id = title.toLowerCase().replace(/[^a-z]+/g, "-").replace(/-$/, "");
    return element("section", { id, "aria-labelledby": `${id}-title` },
      element("h2", { id: `${id}-title` }, title), ...children);
  }

  const card = (name, value) =>
    element("div", { class: "card" }, element("b", {}, value), element("span", {}, name));

  const show = (...parts) =>
    document.getElementById("page").replaceChildren(...parts.filter((one) => one !== null));

  // What the page came with.
  const given = () => JSON.parse(document.getElementById("data").textContent);

  // Server-sent events by name; gives what ends them.
  function listen(acts, lost) {
    const events = new EventSource("events");
    for (const [name, act] of Object.entries(acts)) {
      events.addEventListener(name, (event) => act(JSON.parse(event.data)));
    }
    events.addEventListener("error", () => lost(events.readyState === EventSource.CLOSED));
    return () => events.close();
  }

  const press = (name) => fetch(name, { method: "POST" });

  return { element, count, table, section, card, show, given, listen, press };
})();
