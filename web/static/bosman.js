// Live pages: events of the server make the page fetch itself again, and only
// what differs is changed, so that nothing moves under the reader. Logs grow
// from their byte offset. Without this script everything works by links and
// forms.
"use strict";
(() => {
  // --- changing only what differs -------------------------------------------
  const keep = (el) => el.dataset && el.dataset.morph === "keep";
  const same = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && (a.id || "") === (b.id || "");
  const morph = (from, to) => {
    if (from.nodeType === 3) { if (from.data !== to.data) from.data = to.data; return; }
    if (from.nodeType !== 1 || keep(from) && keep(to)) return;
    if (from.isEqualNode(to)) return;
    const typing = from.matches("input,textarea,select");
    for (const { name, value } of [...to.attributes]) {
      if (from.getAttribute(name) !== value && !(typing && (name === "value" || name === "checked"))) from.setAttribute(name, value);
    }
    for (const { name } of [...from.attributes]) {
      if (!to.hasAttribute(name) && !(name === "open" && from.nodeName === "DETAILS")) from.removeAttribute(name);
    }
    if (typing) return;
    let at = from.firstChild;
    for (const next of [...to.childNodes]) {
      let match = at;
      while (match && !same(match, next)) match = match.nextSibling;
      if (match && match !== at && !(next.nodeType === 1 && next.id)) match = null;
      if (!match && at && same(at, next)) match = at;
      if (match) {
        while (at !== match) { const gone = at; at = at.nextSibling; gone.remove(); }
        morph(match, next);
        at = match.nextSibling;
      } else {
        from.insertBefore(document.importNode(next, true), at);
      }
    }
    while (at) { const gone = at; at = at.nextSibling; gone.remove(); }
  };

  let fetching = false, again = false, timer = 0;
  const refresh = async () => {
    if (fetching) { again = true; return; }
    fetching = true;
    try {
      const answer = await fetch(location.href, { headers: { "X-Bosman-Live": "1" }, credentials: "same-origin" });
      if (answer.redirected) { location.reload(); return; }
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const fresh of page.querySelectorAll("[data-live][id]")) {
        const old = document.getElementById(fresh.id);
        if (old) morph(old, fresh);
      }
      document.title = page.title;
      logs();
    } catch (e) { /* the stream says when the server is away */ } finally {
      fetching = false;
      if (again) { again = false; soon(); }
    }
  };
  let last = 0; // a busy build must not make every reader ask all the time
  const soon = () => { clearTimeout(timer); timer = setTimeout(() => { last = Date.now(); refresh(); }, Math.max(250, last + 1500 - Date.now())); };

  // --- the stream of events --------------------------------------------------
  const offline = document.getElementById("offline");
  const body = document.body;
  if (body.dataset.events && window.EventSource && document.querySelector("[data-live]")) {
    let lost = false;
    const stream = new EventSource(body.dataset.events);
    stream.addEventListener("changed", soon);
    stream.onopen = () => { offline.hidden = true; if (lost) { lost = false; soon(); } };
    stream.onerror = () => { lost = true; setTimeout(() => { if (lost) offline.hidden = false; }, 4000); };
    addEventListener("pagehide", () => stream.close());
  }

  // --- logs --------------------------------------------------------------------
  const following = new Map();
  function logs() {
    for (const [id, stream] of following) if (!document.getElementById(id)) { stream.close(); following.delete(id); }
    for (const box of document.querySelectorAll("[data-log]")) {
      if (following.has(box.id) || !window.EventSource) continue;
      const url = new URL(box.dataset.log, location.href);
      url.searchParams.set("from", box.dataset.from || "0");
      const stream = new EventSource(url);
      following.set(box.id, stream);
      box.scrollTop = box.scrollHeight;
      stream.onmessage = (e) => {
        const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
        box.insertAdjacentHTML("beforeend", e.data); // escaped by the server
        while (box.childElementCount > 5000) box.firstElementChild.remove();
        if (atEnd) box.scrollTop = box.scrollHeight;
      };
      stream.addEventListener("end", () => { stream.close(); soon(); });
    }
  }
  logs();

  // --- times, keys -------------------------------------------------------------
  const ago = () => {
    for (const el of document.querySelectorAll("time[data-ago]")) {
      const s = Math.floor((Date.now() - Date.parse(el.dateTime)) / 1000);
      if (s < 60 || s >= 172800) continue;
      el.textContent = s < 3600 ? Math.floor(s / 60) + " min ago" : Math.floor(s / 3600) + " h ago";
    }
  };
  if (document.documentElement.lang === "en") setInterval(ago, 30000);
  addEventListener("keydown", (e) => {
    if (e.key !== "/" || e.ctrlKey || e.metaKey || e.altKey || e.target.closest?.("input,textarea,select,[contenteditable]")) return;
    const q = document.getElementById("q");
    if (q) { e.preventDefault(); q.focus(); q.select(); }
  });
  // A form is sent once.
  addEventListener("submit", (e) => {
    const f = e.target;
    if (f.method !== "post") return;
    if (f.dataset.sent) { e.preventDefault(); return; }
    f.dataset.sent = "1";
    setTimeout(() => { delete f.dataset.sent; }, 4000);
  });
})();
