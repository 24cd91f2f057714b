// The console works without this file. It brings what happens to a run onto its page, counts
// deadlines down, and takes single keys. It decides nothing: forms are sent by their buttons.
"use strict";
(() => {
  const all = (what, where = document) => [...where.querySelectorAll(what)];

  // Times that are left.
  const left = (ms) => {
    const s = Math.floor(ms / 1000);
    if (s <= 0) return "time is up";
    if (s < 60) return `${s} s left`;
    if (s < 7200) return `${Math.floor(s / 60)} min left`;
    return s < 172800 ? `${Math.floor(s / 3600)} h left` : `${Math.floor(s / 86400)} days left`;
  };
  const countDown = () => all("[data-until]").forEach((e) => {
    const text = left(Date.parse(e.dataset.until) - Date.now());
    if (e.textContent !== text) e.textContent = text;
  });
  countDown();
  setInterval(countDown, 1000);

  // Live runs. Events only say that there is something new: the server draws the page again,
  // and what differs is taken over, so that there is one place that makes markup.
  const put = (old, now) => {
    const held = old.contains(document.activeElement) && document.activeElement.id;
    old.replaceWith(now);
    if (held) document.getElementById(held)?.focus();
  };
  // What has no rows is taken over whole, but not from under somebody who reads or writes in it.
  const takeSection = (old, now) => {
    if (old.innerHTML !== now.innerHTML && !old.contains(document.activeElement) && !old.querySelector("details[open]")) old.replaceWith(now);
  };
  const takeRows = (next) => {
    const rows = document.getElementById("rows"), fresh = next.getElementById("rows");
    if (!rows || !fresh) return takeSection(document.getElementById("section"), next.getElementById("section"));
    const kept = new Set(all("tr", fresh).map((tr) => tr.id));
    all("tr", rows).forEach((tr) => kept.has(tr.id) || tr.remove());
    all("tr", fresh).forEach((tr, i) => {
      const old = document.getElementById(tr.id);
      if (!old) {
        tr.classList.add("fresh");
        rows.insertBefore(tr, rows.children[i] ?? null);
        return;
      }
      const bare = old.cloneNode(true);
      bare.classList.remove("fresh");
      if (!bare.classList.length) bare.removeAttribute("class");
      if (bare.outerHTML === tr.outerHTML) return;
      const link = old.querySelector("a"), focused = link === document.activeElement;
      old.replaceWith(tr);
      if (focused) tr.querySelector("a")?.focus();
    });
    const scale = document.querySelector(".fall .scale"), now = next.querySelector(".fall .scale");
    if (scale && now) scale.replaceWith(now);
  };
  const digests = (where) => all("[data-digest]", where).map((e) => e.dataset.digest).join();
  const take = (html) => {
    const next = new DOMParser().parseFromString(html, "text/html");
    const head = next.getElementById("head");
    if (!head) return;
    const live = Boolean(head.dataset.live);
    put(document.getElementById("head"), head);
    // A form that somebody fills in stays, unless what is asked has changed.
    if (digests(document) !== digests(next)) put(document.getElementById("gates"), next.getElementById("gates"));
    takeRows(next);
    document.title = next.title;
    countDown();
    say(live ? "Live." : "The run is over.");
    if (!live) stop();
  };
  const say = (text) => {
    const e = document.getElementById("live");
    if (e && e.textContent !== text) e.textContent = text;
  };
  let stop = () => {};
  const follow = (address) => {
    let events, busy = false, again = false, over = false;
    const look = async () => {
      if (busy) {
        again = true;
        return;
      }
      busy = true;
      try {
        const answer = await fetch(location.pathname + location.search, { headers: document.hidden ? { Purpose: "prefetch" } : {}, redirect: "error" });
        if (answer.ok) take(await answer.text());
      } catch {
        say("Not live: the console does not answer. Load the page again.");
      }
      setTimeout(() => {
        busy = false;
        if (again) {
          again = false;
          look();
        }
      }, 1000);
    };
    const begin = () => {
      events = new EventSource(address);
      events.addEventListener("open", () => say("Live."));
      for (const kind of ["rows", "head", "end"]) events.addEventListener(kind, look);
      events.onerror = () => say(events.readyState === EventSource.CLOSED ? "Not live. Load the page again." : "Connecting again.");
    };
    begin();
    stop = () => {
      over = true;
      events.close();
    };
    addEventListener("pagehide", () => events.close());
    // A browser has few connections to one host, and a page that nobody sees needs none.
    document.addEventListener("visibilitychange", () => {
      if (over) return;
      events.close();
      if (document.hidden) return;
      begin();
      look();
    });
  };
  const live = document.querySelector("[data-live]")?.dataset.live;
  if (live && new URLSearchParams(location.search).get("gate")) {
    history.replaceState(null, "", location.pathname); // what was decided is said once
  }
  if (live) follow(live);

  // Single keys. Who needs them for something else switches them off.
  const help = document.getElementById("keys"), on = document.getElementById("keys-on");
  const wanted = () => localStorage.getItem("wflo.keys") !== "off";
  if (on) {
    on.checked = wanted();
    on.addEventListener("change", () => localStorage.setItem("wflo.keys", on.checked ? "on" : "off"));
  }
  const move = (by) => {
    const items = all("[data-item]"), at = items.indexOf(document.activeElement);
    const to = items[at < 0 ? (by > 0 ? 0 : items.length - 1) : at + by];
    to?.focus();
    to?.scrollIntoView({ block: "nearest" });
  };
  // The form of an answer: on this page, or on that of the gate which has the focus.
  const answer = (verdict) => {
    const gate = document.activeElement.closest?.("a[data-item]")?.href;
    const near = document.activeElement.closest?.(".ask") ?? document;
    const form = near.querySelector(`form[data-verdict="${verdict}"]`);
    if (form) {
      form.scrollIntoView({ block: "nearest" });
      form.querySelector("input:not([type=hidden]), textarea, button")?.focus();
    } else if (gate?.includes("/gates/")) {
      location.assign(`${gate}#${verdict}`);
    }
  };
  const keys = { j: () => move(1), k: () => move(-1), a: () => answer("approve"), r: () => answer("reject"), e: () => answer("escalate"), "?": () => help?.showModal() };
  addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select, dialog, [contenteditable]");
    if (typing || event.ctrlKey || event.altKey || event.metaKey || !Object.hasOwn(keys, event.key) || (!wanted() && event.key !== "?")) return;
    event.preventDefault();
    keys[event.key]();
  });
  const asked = location.hash.slice(1);
  if (["approve", "reject", "escalate"].includes(asked)) {
    addEventListener("load", () => setTimeout(() => answer(asked))); // the browser's own leap to the form comes first
  }
})();
