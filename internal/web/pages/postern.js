// The one script. Every page works without it; it keeps what somebody looks at up to
// date, copies texts, asks before what cannot be undone, and previews forms.
"use strict";
(() => {
  const paused = () => localStorage.getItem("postern-still") === "1";
  const busy = el => el.contains(document.activeElement) && document.activeElement !== document.body || el.querySelector("input:checked") ||
    (getSelection().toString() !== "" && el.contains(getSelection().anchorNode));

  // <div data-live="queue-list" data-every="5">: the block of that name of this page is
  // asked for again every so many seconds, while the page is seen and nobody is in it.
  const renew = async el => {
    if (document.hidden || paused() || busy(el)) return;
    const answer = await fetch(el.dataset.from || location.href, { headers: { "Postern-Part": el.dataset.live }, redirect: "error" });
    if (!answer.ok) throw new Error(answer.statusText);
    const text = await answer.text();
    if (text !== el.dataset.last && !busy(el)) {
      el.innerHTML = text;
      el.dataset.last = text;
      dress(el);
    }
    el.classList.remove("stale");
    if (answer.headers.get("Postern-Settled") === "1") delete el.dataset.live; // nothing more will change
  };
  const live = el => {
    const again = () => el.isConnected && el.dataset.live &&
      setTimeout(() => renew(el).catch(() => el.classList.add("stale")).finally(again), 1000 * (el.dataset.every || 5));
    again();
  };

  // <form data-preview="/preview/task" data-into="preview">: what is typed is sent
  // there, and the answer shown in the element of that id.
  const preview = form => {
    let timer;
    const target = document.getElementById(form.dataset.into);
    const ask = async () => {
      const answer = await fetch(form.dataset.preview, { method: "POST", body: new URLSearchParams(new FormData(form)) });
      if (answer.ok) target.innerHTML = await answer.text();
    };
    form.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => ask().catch(() => {}), 300); });
  };

  const copy = async button => {
    const from = document.getElementById(button.dataset.copy);
    await navigator.clipboard.writeText(from.value ?? from.textContent.trim());
    const was = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = was; }, 1500);
  };

  // What the server sends is dressed when the page is loaded and when a part is renewed.
  const dress = root => {
    for (const t of root.querySelectorAll("time[datetime]")) t.title = new Date(t.dateTime).toLocaleString();
    for (const b of root.querySelectorAll("[data-copy]")) b.hidden = !navigator.clipboard;
    for (const b of root.querySelectorAll("[data-print]")) b.hidden = false;
    for (const b of root.querySelectorAll("[data-here]")) b.hidden = false;
    const go = root.querySelector("[data-go]"); // what was waited for is there
    if (go && root !== document) location.assign(go.href);
  };

  document.addEventListener("click", e => {
    const button = e.target.closest("[data-copy]");
    if (button) copy(button).catch(() => {});
    if (e.target.closest("[data-print]")) print();
    const all = e.target.closest("[data-all]"); // ticks every box of that name
    if (all) for (const box of document.getElementsByName(all.dataset.all)) box.checked = all.checked;
  });
  document.addEventListener("submit", e => {
    const ask = e.submitter?.dataset.confirm ?? e.target.dataset.confirm;
    if (ask && !confirm(ask)) return e.preventDefault();
    if (e.target.dataset.popup && !("here" in (e.submitter?.dataset ?? {}))) { // the sign-in goes on in a window of its own
      const w = open("", "postern-signin", "popup,width=520,height=680");
      if (w) {
        e.target.target = "postern-signin";
        e.target.elements.window.value = "own";
        setTimeout(() => location.assign(e.target.dataset.popup), 300); // and this page waits for its end
      }
    }
    setTimeout(() => { for (const b of e.target.querySelectorAll("button")) b.disabled = !e.target.target; }); // not twice
  });
  // A navigation that scrolls sideways shows whole what the keyboard comes to.
  document.addEventListener("focusin", e => e.target.closest("nav a")?.scrollIntoView({ block: "nearest", inline: "nearest" }));
  addEventListener("pageshow", () => { for (const b of document.querySelectorAll("form button:disabled")) b.disabled = false; });

  const pause = document.querySelector("[data-pause]");
  const say = () => { pause.textContent = paused() ? "Go on with live updates" : "Stop live updates"; };
  if (pause && document.querySelector("[data-live]")) {
    pause.hidden = false;
    say();
    pause.addEventListener("click", () => { localStorage.setItem("postern-still", paused() ? "0" : "1"); say(); });
  }
  dress(document);
  if (document.querySelector("[data-close]") && window.name === "postern-signin") setTimeout(close, 2000);
  document.querySelectorAll("[data-live]").forEach(live);
  document.querySelectorAll("form[data-preview]").forEach(preview);
  document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
})();
