// The viewer's hands: impressions, clicks, watch time and feedback become events of POST /v1/events.
// The players simulate playback by counting seconds on the drawn thumbnail, because there are no video files.
"use strict";
(() => {
  const body = document.body;
  const user = body.dataset.user;
  if (!user) return;
  const session = body.dataset.session;
  const device = matchMedia("(max-width: 700px)").matches ? "phone" : "desktop";
  const newId = () => Date.now().toString(16).padStart(12, "0") + "-" + crypto.getRandomValues(new Uint32Array(2)).join("-");
  const $ = (selector, root = document) => root.querySelector(selector);
  const clock = (s) => Math.floor(s / 60) + ":" + String(Math.floor(s % 60)).padStart(2, "0");

  // --- events: gathered for a moment, sent together, sent again until they are acknowledged ---
  let waiting = [];
  let timer = 0;
  const event = (kind, box, more = {}) => {
    const about = box ? {
      video_id: box.dataset.video,
      request_id: box.dataset.request || null,
      slot: box.dataset.slot === "" || box.dataset.slot === undefined ? null : Number(box.dataset.slot),
      view_id: box.dataset.view || null,
      surface: box.dataset.surface || body.dataset.surface,
    } : {};
    const row = { event_id: newId(), time_us: Date.now() * 1000, kind, user_id: user, session_id: session, device, ...about, ...more };
    waiting.push(row);
    clearTimeout(timer);
    timer = setTimeout(send, kind === "impression" ? 250 : 0);
    return row.event_id;
  };
  const send = async () => {
    if (!waiting.length) return;
    const rows = waiting.splice(0, 500);
    try {
      const answer = await fetch("/v1/events", {
        method: "POST", keepalive: true, headers: { "content-type": "application/json" }, body: JSON.stringify(rows),
      });
      if (answer.status >= 500) throw new Error(answer.status);
      if (!answer.ok) say("An action was refused: " + answer.status);
      body.dispatchEvent(new CustomEvent("acted"));
      if (waiting.length) send();
    } catch {
      waiting = rows.concat(waiting); // safe: event_id makes sending twice count once
      timer = setTimeout(send, 1500);
    }
  };

  let hush = 0;
  const say = (text, undo) => {
    const box = $("#said");
    box.textContent = text;
    if (undo) {
      const button = document.createElement("button");
      button.textContent = "Undo";
      button.onclick = () => { undo(); box.classList.remove("on"); };
      box.append(" ", button);
    }
    box.classList.add("on");
    clearTimeout(hush);
    hush = setTimeout(() => box.classList.remove("on"), undo ? 6000 : 2500);
  };

  // --- impressions of cards: half of it visible ---
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting || entry.target.dataset.seen) continue;
      entry.target.dataset.seen = "1";
      entry.target.dataset.view = newId();
      event("impression", entry.target);
      seen.unobserve(entry.target);
    }
  }, { threshold: 0.5 });

  // --- feedback ---
  const words = { like: "Liked", dislike: "Disliked", share: "Shared", follow: "Following", not_interested: "You won't see this again" };
  const act = (button) => {
    const box = button.closest("[data-video]");
    const kind = button.dataset.act;
    const target = kind === "follow" ? { target_kind: "creator", target_id: box.dataset.creator } : {};
    if (button.getAttribute("aria-pressed") === "true") {
      event("undo", null, { undoes_event_id: button.dataset.event, surface: body.dataset.surface });
      button.setAttribute("aria-pressed", "false");
      if (kind === "follow") button.textContent = "Follow";
      return say("Taken back");
    }
    const id = event(kind, box, target);
    if (button.hasAttribute("aria-pressed")) {
      button.setAttribute("aria-pressed", "true");
      button.dataset.event = id;
      if (kind === "follow") button.textContent = "Following";
    }
    if (kind === "not_interested") {
      box.classList.add("gone");
      if (box.classList.contains("short")) step(1, box);
      return say(words[kind], () => {
        event("undo", null, { undoes_event_id: id, surface: body.dataset.surface });
        box.classList.remove("gone");
      });
    }
    say(words[kind]);
  };

  // --- a simulated player: seconds counted while it is active, told every five and when it stops ---
  let speed = 1;
  class Player {
    constructor(box) {
      this.box = box;
      this.duration = Math.max(1, Number(box.dataset.duration));
      this.at = 0; this.watched = 0; this.told = -1; this.playing = false; this.last = 0; this.told_at = 0;
    }
    start() {
      if (!this.box.dataset.view) this.box.dataset.view = newId();
      if (!this.box.dataset.seen) { this.box.dataset.seen = "1"; event("impression", this.box); }
      this.playing = true; this.last = performance.now(); this.told_at = this.last;
      this.draw(); this.loop = setInterval(() => this.tick(), 100);
    }
    stop() {
      if (!this.playing) return;
      this.tick(); this.playing = false; clearInterval(this.loop); this.tell(); this.draw();
    }
    toggle() { this.playing ? this.stop() : this.start(); }
    tick() {
      const now = performance.now();
      const passed = Math.min(5, (now - this.last) / 1000) * speed;
      this.last = now;
      if (document.hidden) return;
      this.at += passed; this.watched += passed;
      const ended = this.at >= this.duration;
      if (ended) {
        if (this.box.classList.contains("short")) this.at %= this.duration;
        else { this.watched -= this.at - this.duration; this.at = this.duration; clearInterval(this.loop); this.playing = false; }
      }
      if (ended || now - this.told_at > 5000) { this.told_at = now; this.tell(); }
      this.draw();
    }
    tell() {
      const watched = Math.round(this.watched * 10) / 10;
      if (watched === this.told) return;
      this.told = watched;
      event("watch", this.box, { watch_s: watched });
    }
    seek(to) { this.at = to; if (!this.playing && to < this.duration) this.start(); this.draw(); }
    draw() {
      const bar = $(".progress", this.box), range = $("[data-seek]", this.box);
      if (bar) { bar.firstElementChild.style.transform = `scaleX(${this.at / this.duration})`; bar.setAttribute("aria-valuenow", Math.floor(this.at)); }
      if (range && document.activeElement !== range) range.value = this.at;
      $("[data-now]", this.box).textContent = clock(this.at);
      this.box.classList.toggle("playing", this.playing);
      for (const button of this.box.querySelectorAll("[data-toggle]")) button.setAttribute("aria-label", this.playing ? "Pause" : "Play");
      const state = $(".state", this.box);
      if (state) state.textContent = this.playing ? "\u275A\u275A" : "\u25B6";
    }
  }
  const players = new WeakMap();
  const playerOf = (box) => { if (!players.has(box)) players.set(box, new Player(box)); return players.get(box); };
  let active = null;
  const activate = (box) => {
    if (active === box) return;
    if (active) playerOf(active).stop();
    active = box;
    if (box) playerOf(box).start();
  };
  const onStage = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) activate(entry.target);
  }, { root: $(".reel"), threshold: 0.6 });
  const step = (by, from = active) => {
    const all = [...document.querySelectorAll(".short")];
    const next = all[all.indexOf(from) + by];
    if (next) next.scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  };

  // --- wiring ---
  const wire = (root) => {
    for (const card of root.querySelectorAll(".card:not([data-wired])")) { card.dataset.wired = "1"; seen.observe(card); }
    for (const short of root.querySelectorAll(".short:not([data-wired])")) { short.dataset.wired = "1"; onStage.observe(short); }
  };
  document.addEventListener("click", (e) => {
    const button = e.target.closest("button, a");
    if (!button) return;
    const box = button.closest("[data-video]");
    if (button.dataset.act) act(button);
    else if (button.dataset.toggle !== undefined) playerOf(box).toggle();
    else if (button.dataset.skip !== undefined) step(1, box);
    else if (button.dataset.speed !== undefined) {
      speed = { 1: 4, 4: 16, 16: 1 }[speed];
      for (const label of document.querySelectorAll(".rate")) label.textContent = speed + "\u00D7";
    } else if (button.dataset.open !== undefined && box) { event("click", box); send(); }
  });
  document.addEventListener("input", (e) => {
    if (e.target.dataset.seek !== undefined) playerOf(e.target.closest("[data-video]")).seek(Number(e.target.value));
  });
  document.addEventListener("keydown", (e) => {
    if (!active || e.target.closest("input, textarea, dialog") || e.ctrlKey || e.metaKey || e.altKey) return;
    const press = (kind) => $(`[data-act=${kind}]`, active)?.click();
    const keys = { ArrowDown: () => step(1), ArrowUp: () => step(-1), l: () => press("like"), d: () => press("dislike"), n: () => press("not_interested") };
    if (e.key === " " && !e.target.closest("button, a")) keys[" "] = () => playerOf(active).toggle();
    if (!keys[e.key] || !document.querySelector(".reel") && e.key.startsWith("Arrow")) return;
    e.preventDefault();
    keys[e.key]();
  });
  document.addEventListener("htmx:afterSwap", (e) => {
    wire(document);
    if (e.target.id === "why-body") $("#why").showModal();
  });
  $("#why").addEventListener("click", (e) => { if (e.target.id === "why") e.target.close(); });
  const leave = () => { if (active && playerOf(active).playing) { playerOf(active).tick(); playerOf(active).tell(); } send(); };
  addEventListener("pagehide", leave);
  document.addEventListener("visibilitychange", () => { if (document.hidden) leave(); });
  wire(document);
  const now = $(".now");
  if (now) activate(now);
  const reel = $(".reel");
  if (reel) reel.focus({ preventScroll: true });
})();
