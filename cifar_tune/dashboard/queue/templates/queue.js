"use strict";

// The part of the page that says what is going on renews itself; the form is left alone.
const now = document.getElementById("now");
let shown = "";

function nameThisPage() {
  for (const input of now.querySelectorAll('input[name="from"]')) {
    input.value = now.dataset.from;
  }
}

async function renew() {
  if (document.hidden) {
    return;
  }
  try {
    const answer = await fetch(now.dataset.url, { credentials: "same-origin" });
    if (answer.ok) {
      const text = await answer.text();
      if (text !== shown && !now.contains(document.activeElement)) {
        now.innerHTML = text;
        shown = text;
        nameThisPage();
      }
    }
    now.classList.toggle("stale", !answer.ok);
  } catch {
    now.classList.add("stale"); // the server is gone for a moment
  }
}

nameThisPage();
setInterval(renew, 1500);
