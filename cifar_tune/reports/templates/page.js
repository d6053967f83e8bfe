"use strict";
(() => {
  const NARROW = 560; // CSS pixels; below it a figure gives less room to what is around the plot
  const AROUND = 90; // CSS pixels above and below a plot, for its axis and the like
  const PAPER = 660; // CSS pixels between the margins of an A4 page
  const root = document.documentElement;

  // Figures: those near the window first, the others while the browser has nothing else to do.

  const json = document.getElementById("figures");
  const figures = json ? JSON.parse(json.textContent) : {};
  const plots = [...document.querySelectorAll(".plot")];
  const waiting = new Set(plots);
  const underway = [];

  function wrapped(text, most) {
    const lines = [""];
    for (const word of String(text).split(" ")) {
      const last = lines.length - 1;
      const longer = lines[last] ? `${lines[last]} ${word}` : word;
      if (longer.length <= most || !lines[last]) lines[last] = longer;
      else lines.push(word);
    }
    return lines.join("<br>");
  }

  // The names along an axis of categories; null for an axis of numbers.
  function categories(traces, letter, anchor) {
    const values = traces
      .filter((trace) => (trace[`${letter}axis`] ?? letter) === anchor)
      .flatMap((trace) => (Array.isArray(trace[letter]) ? trace[letter] : []));
    return values.some((value) => typeof value === "string" && isNaN(value)) ? [...new Set(values)] : null;
  }

  function fittedAxis(axis, name, traces, wide) {
    const letter = name[0];
    const names = categories(traces, letter, name.replace("axis", ""));
    const fitting = { ...axis };
    if (axis.title?.text) fitting.title = { ...axis.title, text: wrapped(axis.title.text, wide ? 70 : 36) };
    if (letter === "x" && !names && !wide) fitting.nticks ??= 6;
    if (letter === "y" && names && !axis.ticktext) {
      const ticktext = names.map((text) => wrapped(text, wide ? 32 : 20));
      Object.assign(fitting, { tickmode: "array", tickvals: names, ticktext });
    }
    return fitting;
  }

  function fitted({ data, layout }, wide) {
    const fitting = { ...layout };
    for (const name of Object.keys(layout).filter((key) => /^[xy]axis/.test(key))) {
      fitting[name] = fittedAxis(layout[name], name, data, wide);
    }
    if (wide) return { traces: data, layout: fitting };
    fitting.font = { ...layout.font, size: 11 };
    fitting.margin = { ...layout.margin, l: 40, r: 8 };
    // Cells with numbers in them need the width more than a scale of their colours does.
    const cells = data.map((trace) =>
      trace.type === "heatmap" && trace.texttemplate
        ? { ...trace, showscale: false, textfont: { ...trace.textfont, size: 9 } }
        : trace,
    );
    return { traces: cells, layout: fitting };
  }

  function legendHeight(plot) {
    return plot.querySelector(".infolayer .legend")?.getBoundingClientRect().height ?? 0;
  }

  // Lines of names beside the plot, each of which needs its height.
  function namesHeight(plot) {
    const axes = Object.keys(plot.layout).filter((key) => /^yaxis/.test(key));
    const lines = axes.map((key) => {
      const names = plot.layout[key].ticktext ?? [];
      return names.length * Math.max(0, ...names.map((name) => String(name).split("<br>").length));
    });
    return 15 * Math.max(0, ...lines);
  }

  // Entries of a legend above a narrow plot, or names beside it, would leave too little height.
  const heights = new Map(plots.map((plot) => [plot, parseFloat(plot.style.height)]));
  function makeRoom(plot) {
    const legend = plot.clientWidth < NARROW ? Math.max(0, Math.ceil(legendHeight(plot) - 60)) : 0;
    const names = Math.max(0, namesHeight(plot) + AROUND - heights.get(plot));
    const height = `${heights.get(plot) + legend + names}px`;
    if (plot.style.height === height) return null;
    plot.style.height = height;
    return Plotly.Plots.resize(plot);
  }
  let resized = 0;
  addEventListener("resize", () => {
    clearTimeout(resized);
    resized = setTimeout(() => plots.filter((plot) => plot.data).forEach(makeRoom), 300);
  });

  async function drawNow(plot) {
    const { traces, layout } = fitted(figures[plot.dataset.figure], plot.clientWidth >= NARROW);
    const options = { responsive: true, displayModeBar: false, displaylogo: false };
    const touch = matchMedia("(pointer: coarse)").matches;
    // A finger on a figure scrolls the page rather than zooms the plot.
    if (touch) layout.dragmode = false;
    plot.replaceChildren();
    try {
      await Plotly.newPlot(plot, traces, layout, options);
      await makeRoom(plot);
    } catch (error) {
      plot.textContent = "This figure cannot be drawn in this browser.";
      console.error(error);
    }
  }

  function draw(plot) {
    if (!waiting.delete(plot)) return;
    underway.push(drawNow(plot));
    if (waiting.size === 0) {
      Promise.all(underway).then(() => {
        root.dataset.drawn = "true";
      });
    }
  }

  const whenIdle = window.requestIdleCallback
    ? (step) => requestIdleCallback(step, { timeout: 300 })
    : (step) => setTimeout(step, 30);

  function drawRest() {
    const [next] = waiting;
    if (!next) return;
    draw(next);
    whenIdle(drawRest);
  }

  if (plots.length === 0) {
    root.dataset.drawn = "true";
  } else {
    const nearby = new IntersectionObserver(
      (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => draw(entry.target)),
      { rootMargin: "300px" },
    );
    plots.forEach((plot) => nearby.observe(plot));
    whenIdle(drawRest);
  }

  // Paper: everything drawn, as wide as the paper and flatter, so that two stand on a page.

  let unfolded = [];
  addEventListener("beforeprint", () => {
    [...waiting].forEach(draw);
    for (const plot of plots.filter((drawn) => drawn.data)) {
      const [width, height] = [plot.clientWidth, plot.clientHeight];
      const legend = (legendHeight(plot) * width) / PAPER;
      const flat = Math.max(0.65 * height, namesHeight(plot) + AROUND);
      Plotly.relayout(plot, { width: PAPER, height: flat + legend });
    }
    unfolded = [...document.querySelectorAll("details.long:not([open])")];
    unfolded.forEach((details) => (details.open = true));
  });
  addEventListener("afterprint", () => {
    for (const plot of plots.filter((drawn) => drawn.data)) {
      Plotly.relayout(plot, { width: null, height: null, autosize: true });
    }
    unfolded.forEach((details) => (details.open = false));
  });

  // Links into something folded open it.

  function unfoldTarget() {
    let name = location.hash.slice(1);
    try {
      name = decodeURIComponent(name);
    } catch {
      return; // not an address that this page made
    }
    const target = name && document.getElementById(name);
    const inside = target ? target.querySelector(":scope > details") : null;
    if (!target) return;
    if (inside) inside.open = true;
    for (let at = target.closest("details"); at; at = at.parentElement.closest("details")) at.open = true;
    target.scrollIntoView();
  }
  addEventListener("hashchange", unfoldTarget);
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    // No hashchange comes of a second click on the same link.
    if (link && link.hash === location.hash) setTimeout(unfoldTarget);
  });
  if (location.hash) unfoldTarget();

  const contents = document.querySelector("nav details");
  if (contents && innerWidth < 640) contents.open = false;

  // Commands: broken between words only, since a browser also breaks after the hyphens of an option.

  for (const code of document.querySelectorAll(".command code")) {
    const words = code.textContent.split(/( )/).map((word) => {
      const part = document.createElement("span");
      part.textContent = word;
      return word === " " ? word : part;
    });
    code.replaceChildren(...words);
  }

  // Copying needs a page that the browser trusts; without it the buttons stay away.

  async function copy(button) {
    try {
      await navigator.clipboard.writeText(button.previousElementSibling.textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not copied";
    }
    setTimeout(() => (button.textContent = "Copy"), 1500);
  }
  if (navigator.clipboard) {
    for (const button of document.querySelectorAll("button.copy")) {
      button.hidden = false;
      button.addEventListener("click", () => copy(button));
    }
  }
})();
