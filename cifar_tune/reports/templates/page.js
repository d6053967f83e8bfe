"use strict";
(() => {
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

  // On paper nothing can be opened: claims and remarks are printed in full, long tables are not.

  let unfolded = [];
  addEventListener("beforeprint", () => {
    unfolded = [...document.querySelectorAll("details:is(.card, .fold):not([open])")];
    unfolded.forEach((details) => (details.open = true));
  });
  addEventListener("afterprint", () => unfolded.forEach((details) => (details.open = false)));

  // Tables that are wider than the page say so.

  function markWide() {
    for (const box of document.querySelectorAll(".scroll")) {
      box.previousElementSibling.classList.toggle("shown", box.scrollWidth > box.clientWidth + 1);
    }
  }
  addEventListener("resize", markWide);
  document.addEventListener("toggle", markWide, true);
  markWide();

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
