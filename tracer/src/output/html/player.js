// The player: draws an eventpoll from a stream of steps.
//
// In: steps {t: nanoseconds, k: kind, l: line, i: item, p: merge patch of the state}. The page brings stretches of them; feed() takes
// more, as a live source would. Out: the drawing, and window.eptrace for whoever wants to ask. Every string is set as text.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data")?.textContent ?? "null");

  // ---- beyond the player: everything is open on paper
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
  if (!data) return;

  // ---- the stream: steps of one eventpoll, flat, with the places where a stretch begins
  const EVERY = 64; // steps between two states that are remembered
  class Part {
    constructor(ep, name, total) {
      Object.assign(this, { ep, name, total, steps: [], states: new Map() });
    }
    begin(first) { this.next = first; this.cut = true; }
    feed(step) {
      this.steps.push({ ...step, number: this.next, cut: this.cut || this.steps.length === 0 });
      this.next += 1;
      this.cut = false;
      this.total = Math.max(this.total, this.next);
    }
    // The state after a step.
    state(index) {
      let from = index;
      while (!this.steps[from].cut && !this.states.has(from)) from -= 1;
      let state = this.states.get(from) ?? merge(structuredClone(data.empty), this.steps[from].p);
      for (let at = from + 1; at <= index; at += 1) {
        state = merge(state, this.steps[at].p);
        if (at % EVERY === 0) this.states.set(at, state);
      }
      return state;
    }
    // The first step at or after a moment, else the last.
    at(ns) {
      const found = this.steps.findIndex((step) => step.t >= ns);
      return found < 0 ? this.steps.length - 1 : found;
    }
  }
  // RFC 7396, without changing what was there before.
  function merge(target, patch) {
    const result = { ...target };
    for (const [key, value] of Object.entries(patch)) {
      if (value === null) delete result[key];
      else if (typeof value === "object" && !Array.isArray(value)) result[key] = merge(isObject(result[key]) ? result[key] : {}, value);
      else result[key] = value;
    }
    return result;
  }
  const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

  const parts = data.parts.map((given) => {
    const part = new Part(given.ep, given.name, given.steps);
    for (const scene of given.scenes) {
      part.begin(scene.first);
      scene.steps.forEach((step) => part.feed(step));
    }
    return part;
  });

  // ---- words
  const seconds = (ns) => (ns / 1e9).toFixed(6) + " s";
  function mask(events) {
    const names = data.bits.filter(([bit]) => (events & bit) !== 0).map(([, name]) => name);
    return names.length ? names.join("|") : "0: disabled";
  }
  const ALWAYS = 0x18; // EPOLLERR and EPOLLHUP, which every item has
  const PRIVATE = 0xf8000000 | 0; // flags that are no events: an item with nothing else is disabled
  function element(name, text, kind) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }

  // ---- what is shown now
  let part = parts[0];
  let index = 0;
  let hanging; // the item whose chain is drawn
  let timer = null;

  function itemBox(state, id, active) {
    const item = state.items[id];
    const box = element("li", undefined, "box");
    if (!item) { box.append(element("b", "item " + id)); return box; }
    box.append(element("b", "fd " + item.fd), element("span", item.source, "source"));
    box.append(element("span", mask(item.events & ~ALWAYS), "mask"));
    const off = (item.events & ~PRIVATE) === 0;
    if (off) box.append(element("span", "disabled", "flag"));
    if (state.ready.includes(Number(id))) box.classList.add("ready");
    if (state.overflow.includes(Number(id))) box.classList.add("over");
    if (active) { box.classList.add("active"); box.append(element("span", "this step", "flag")); }
    return box;
  }
  // The red-black tree: nodes stand from left to right in the order of their keys, so depth alone says who hangs on whom.
  const SVG = byId("d-tree").namespaceURI;
  const CELL = 46, ROW = 44, RADIUS = 15;
  function shape(name, attributes, text) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  }
  function parentOf(nodes, at) {
    const nearest = (step) => {
      for (let other = at + step; nodes[other]; other += step) if (nodes[other].depth < nodes[at].depth) return other;
      return undefined;
    };
    const both = [nearest(-1), nearest(1)].filter((other) => other !== undefined);
    return both.find((other) => nodes[other].depth === nodes[at].depth - 1);
  }
  function drawTree(state, active) {
    const nodes = state.tree.map(([item, fd, depth, red]) => ({ item, fd, depth, red }));
    const depth = Math.max(0, ...nodes.map((node) => node.depth));
    const svg = byId("d-tree");
    svg.replaceChildren();
    svg.setAttribute("viewBox", "0 0 " + Math.max(1, nodes.length) * CELL + " " + (depth + 1) * ROW);
    svg.style.width = nodes.length * CELL + "px";
    svg.toggleAttribute("hidden", nodes.length === 0);
    const x = (at) => (at + 0.5) * CELL, y = (at) => (nodes[at].depth + 0.5) * ROW;
    nodes.forEach((node, at) => {
      const parent = parentOf(nodes, at);
      if (parent !== undefined) svg.append(shape("line", { x1: x(at), y1: y(at), x2: x(parent), y2: y(parent), class: "branch" }));
    });
    nodes.forEach((node, at) => {
      const kind = (node.red ? "red" : "black") + (active(node.item) ? " active" : "");
      const group = shape("g", { class: kind });
      const said = "fd " + node.fd + ", " + (node.red ? "red" : "black") + ", depth " + node.depth;
      group.append(shape("title", {}, said), shape("circle", { cx: x(at), cy: y(at), r: RADIUS }), shape("text", { x: x(at), y: y(at) + 4 }, String(node.fd)));
      svg.append(group);
    });
    const why = {
      whole: nodes.length ? "depth " + (depth + 1) + ", black nodes dark, red ones light with a ring" : "the tree is empty",
      large: state.items_total + " items are too many to draw",
      unknown: "the shape is not known: the trace does not tell of all that came and went",
    };
    byId("more-tree").textContent = why[state.shape];
  }
  function place(what, boxes, total, note) {
    const list = byId("d-" + what);
    list.replaceChildren(...(boxes.length ? boxes : [element("li", "empty", "nothing")]));
    byId("n-" + what).textContent = String(total);
    const more = total - boxes.length;
    byId("more-" + what).textContent = [more > 0 ? "and " + more + " more, not drawn" : "", note ?? ""].filter(Boolean).join("; ");
  }
  function draw() {
    const step = part.steps[index];
    const state = part.state(index);
    const active = (id) => step.i !== undefined && Number(id) === step.i;
    place("items", Object.keys(state.items).map((id) => itemBox(state, id, active(id))), state.items_total);
    drawTree(state, active);
    place("ready", state.ready.map((id) => itemBox(state, id, active(id))), state.ready_total, state.ordered || state.ready_total < 2 ? "" : "order not certain");
    place("overflow", state.overflow.map((id) => itemBox(state, id, active(id))), state.overflow_total);
    const taskBox = (task) => {
      const box = element("li", undefined, "box task " + (task.woken ? "woken" : "asleep"));
      box.append(element("b", task.name), element("span", "in epoll_wait since " + seconds(task.since_ns), "mask"));
      return box;
    };
    const woken = state.tasks.filter((task) => task.woken);
    place("tasks", state.tasks.filter((task) => !task.woken).map(taskBox), state.tasks_total - woken.length);
    place("woken", woken.map(taskBox), woken.length);
    // A step that is about no item leaves the one before in place.
    hanging = step.i !== undefined && state.items[step.i] ? step.i : hanging;
    const item = state.items[hanging] ?? Object.values(state.items)[0];
    const chain = item
      ? [["epitem, fd " + item.fd, item.epi], ["eppoll_entry", item.entry ?? "address not seen before its first callback"],
         ["wait queue of " + item.source, item.whead ?? "not seen"]]
      : [["nothing", "the eventpoll has no item"]];
    byId("d-chain").replaceChildren(...chain.map(([what, address]) => {
      const box = element("li", undefined, "box");
      box.append(element("b", what), element("span", address, "mask"));
      return box;
    }));
    const gap = step.cut && index > 0 ? " · steps before it are left out" : "";
    byId("p-where").textContent = "Step " + (step.number + 1) + " of " + part.total + " · " + seconds(step.t) + gap + (state.alive ? "" : " · closed");
    const line = byId("p-line");
    line.textContent = step.l;
    line.className = "k-" + step.k;
    const slider = byId("p-slider");
    slider.max = String(part.steps.length - 1);
    slider.value = String(index);
    slider.setAttribute("aria-valuetext", step.l);
    log();
  }
  function log() {
    const from = Math.max(0, Math.min(index - 5, part.steps.length - 12));
    byId("p-log").replaceChildren(...part.steps.slice(from, from + 12).map((step, offset) => {
      const row = element("li", undefined, "k-" + step.k + (from + offset === index ? " now" : ""));
      const button = element("button", undefined, "row");
      button.type = "button";
      button.append(element("span", seconds(step.t), "time"), element("span", step.l));
      button.addEventListener("click", () => go(from + offset));
      if (step.cut && from + offset > 0) row.append(element("span", "… steps left out …", "gap"));
      row.append(button);
      return row;
    }));
  }
  function go(to) {
    index = Math.max(0, Math.min(part.steps.length - 1, to));
    draw();
  }
  function select(which) {
    part = parts[which] ?? part;
    byId("p-ep").value = String(parts.indexOf(part));
    go(0);
  }
  function stop() {
    clearInterval(timer);
    timer = null;
    byId("p-play").textContent = "play";
  }
  function play() {
    if (timer !== null) { stop(); return; }
    byId("p-play").textContent = "pause";
    timer = setInterval(() => { if (index + 1 < part.steps.length) go(index + 1); else stop(); }, 400);
  }
  // The moment of a finding, in its eventpoll if that is here, else in one that has steps near it.
  function moment(ns, ep) {
    const own = parts.filter((one) => one.ep === ep);
    const distance = (one) => Math.abs(one.steps[one.at(ns)].t - ns);
    const best = (own.length ? own : parts).reduce((a, b) => (distance(b) < distance(a) ? b : a));
    stop();
    select(parts.indexOf(best));
    go(part.at(ns));
  }

  // An address that ends in #ep=3&at=1000 leads to a moment, nanoseconds since the origin.
  function follow() {
    const words = new URLSearchParams(location.hash.slice(1));
    if (!words.has("at")) return;
    moment(Number(words.get("at")), Number(words.get("ep")));
    byId("player").scrollIntoView();
    byId("player-body").focus({ preventScroll: true });
  }

  if (parts.length > 0) {
    parts.forEach((one, at) => byId("p-ep").append(new Option(one.name + " (" + one.steps.length + " of " + one.total + " steps)", String(at))));
    data.moments.forEach((one, at) => byId("p-moment").append(new Option(one.text, String(at))));
    byId("p-ep").addEventListener("change", (event) => { stop(); select(Number(event.target.value)); });
    byId("p-moment").addEventListener("change", (event) => {
      const one = data.moments[Number(event.target.value)];
      if (event.target.value !== "" && one) moment(one.t, one.ep);
    });
    byId("p-first").addEventListener("click", () => go(0));
    byId("p-back").addEventListener("click", () => go(index - 1));
    byId("p-next").addEventListener("click", () => go(index + 1));
    byId("p-last").addEventListener("click", () => go(part.steps.length - 1));
    byId("p-play").addEventListener("click", play);
    byId("p-slider").addEventListener("input", (event) => go(Number(event.target.value)));
    byId("player-body").addEventListener("keydown", (event) => {
      if (event.target.tagName === "SELECT" || event.target.tagName === "INPUT") return;
      const keys = { ArrowLeft: () => go(index - 1), ArrowRight: () => go(index + 1), Home: () => go(0), End: () => go(part.steps.length - 1) };
      if (event.key === " " && event.target.tagName !== "BUTTON") keys[" "] = play;
      if (!keys[event.key]) return;
      event.preventDefault();
      keys[event.key]();
    });
    document.querySelectorAll(".moments a").forEach((link) => link.addEventListener("click", (event) => {
      event.preventDefault();
      history.replaceState(null, "", link.getAttribute("href"));
      follow();
    }));
    addEventListener("hashchange", follow);
    document.querySelectorAll("svg[data-ep]").forEach((chart) => chart.addEventListener("click", (event) => {
      const box = chart.getBoundingClientRect();
      const ns = ((event.clientX - box.left) / box.width) * chart.viewBox.baseVal.width * Number(chart.dataset.cell);
      moment(ns, Number(chart.dataset.ep));
      byId("player").scrollIntoView();
    }));
    byId("player-body").hidden = false;
    select(0);
    follow();
  }

  window.eptrace = {
    parts: () => parts.map((one) => ({ ep: one.ep, name: one.name, steps: one.steps.length, total: one.total })),
    select, go, moment,
    now: () => ({ part: parts.indexOf(part), index }),
    number: (at) => part.steps[at].number,
    line: (at) => part.steps[at].l,
    state: (at) => part.state(at),
    // A live source's next step of an eventpoll.
    feed: (which, step) => { parts[which].feed(step); if (parts[which] === part) draw(); },
  };
})();
