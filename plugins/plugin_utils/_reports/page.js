// Copyright (c) 2026, The meshops.istio_precheck authors
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
(() => {
  "use strict";
  const one = (id) => document.getElementById(id);
  const all = (selector, within) => Array.from((within || document).querySelectorAll(selector));
  const form = one("filter");
  const few = Number(document.body.dataset.few); // as many ports, probes and pods are printed with all that their rows unfold to

  // What was found, as it is nested: looked up once, since a report may hold thousands.
  const numbers = (element) => all("[data-k]", element).map((cell) => ({ kind: cell.dataset.k, cell, number: cell.querySelector("b") }));
  const clusters = all(".cluster").map((element) => ({
    element,
    name: element.dataset.c,
    spaces: all(".spaces tbody tr", element).map((row) => ({ element: row, name: row.dataset.ns, numbers: numbers(row) })),
    table: element.querySelector(".spaces"),
    unread: element.querySelector(".unread"),
    reasons: all(".unread .entry", element).map((entry) => ({
      element: entry,
      pods: entry.querySelector("[data-pods]"),
      places: all("li", entry).map((place) => ({ element: place, ns: place.dataset.ns, weight: Number(place.dataset.n) })),
    })),
    namespaces: all(".ns", element).map((ns) => ({
      element: ns,
      name: ns.dataset.ns,
      numbers: numbers(ns.querySelector(".ns-h")),
      entries: all(".entry", ns).map((entry) => ({ element: entry, kind: entry.dataset.k })),
    })),
  }));

  const set = (element, hidden) => {
    if (element.hidden !== hidden) element.hidden = hidden;
    return !hidden;
  };
  const said = (number) => number.toLocaleString("en");
  const write = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };

  // What is searched: all that a row and its card say, but not the Sidecars. Made when it is asked for.
  const textOf = (thing, ...parts) => {
    thing.text ??= parts.map((part) => (typeof part === "string" ? part : part.textContent)).join(" ").toLowerCase();
    return thing.text;
  };
  const entryText = (entry, ns) => textOf(entry, ns, ...all(".row, .card > p, .svc", entry.element));
  const placeText = (place, reason) => textOf(place, place.element, reason.element.querySelector(".row"));

  const boxes = form ? all("input[name=kind]", form) : [];
  const chosen = () => ({
    words: one("q").value.toLowerCase().split(/\s+/).filter(Boolean),
    cluster: one("by-cluster") ? one("by-cluster").value : "",
    ns: one("by-ns").value,
    kinds: new Set(boxes.filter((box) => box.checked).map((box) => box.value)),
  });

  let visible = []; // the rows that are shown

  const filter = () => {
    const { words, cluster, ns, kinds } = chosen();
    const totals = {}; // of what matches, whatever kinds are shown
    const found = (text) => words.every((word) => text.includes(word));
    let shown = 0;
    let total = 0;
    visible = [];
    for (const c of clusters) {
      const here = !cluster || c.name === cluster;
      const spaces = {};
      const add = (name, kind, weight) => {
        spaces[name] ??= {};
        spaces[name][kind] = (spaces[name][kind] || 0) + weight;
        totals[kind] = (totals[kind] || 0) + weight;
      };
      set(c.element, !here);
      let unread = 0;
      for (const reason of c.reasons) {
        let pods = 0;
        for (const place of reason.places) {
          total += place.weight;
          const matches = here && (!ns || place.ns === ns) && (!words.length || found(placeText(place, reason)));
          if (matches) add(place.ns, "unchecked", place.weight);
          if (matches) pods += place.weight;
          set(place.element, !matches);
        }
        write(reason.pods, said(pods) + (pods === 1 ? " pod" : " pods"));
        unread += pods;
        if (set(reason.element, !pods || !kinds.has("unchecked"))) {
          shown += pods;
          visible.push(reason.element);
        }
      }
      if (c.unread && set(c.unread, !unread || !kinds.has("unchecked"))) write(c.unread.querySelector(".tally b"), said(unread));
      for (const namespace of c.namespaces) {
        let some = false;
        for (const entry of namespace.entries) {
          total += 1;
          const matches = here && (!ns || namespace.name === ns) && (!words.length || found(entryText(entry, namespace.name)));
          if (matches) add(namespace.name, entry.kind, 1);
          if (set(entry.element, !(matches && kinds.has(entry.kind)))) {
            shown += 1;
            some = true;
            visible.push(entry.element);
          }
        }
        set(namespace.element, !some);
      }
      const count = (name, kind) => (kinds.has(kind) && spaces[name] && spaces[name][kind]) || 0;
      for (const namespace of c.namespaces) {
        for (const { kind, cell, number } of namespace.numbers) {
          write(number, said(count(namespace.name, kind)));
          set(cell, !count(namespace.name, kind));
        }
      }
      for (const space of c.spaces) {
        let some = false;
        for (const { kind, cell, number } of space.numbers) {
          write(number, said(count(space.name, kind)));
          cell.classList.toggle("zero", !count(space.name, kind));
          some = some || count(space.name, kind) > 0;
        }
        set(space.element, !some);
      }
      if (c.table) set(c.table, !c.spaces.some((space) => !space.element.hidden));
    }
    for (const number of all("[data-total]", form)) write(number, said(totals[number.dataset.total] || 0));
    const whole = !cluster && !ns && !words.length && kinds.size === boxes.length;
    write(one("shown"), said(shown) + " of " + said(total) + " shown");
    set(one("show-all"), whole);
    set(one("none"), shown > 0);
    set(one("unfold"), !visible.length);
    document.body.classList.toggle("few", shown <= few);
    folding();
  };

  const folding = () => write(one("unfold"), visible.some((row) => !row.open) ? "Unfold" : "Fold");

  // What is chosen stands in the address, so that it can be sent: #ns=shop, #ns=shop&q=8080&kind=unknown,unreachable.
  const remember = () => {
    const { cluster, ns, kinds } = chosen();
    const parts = [
      ["cluster", cluster],
      ["ns", ns],
      ["q", one("q").value.trim()],
      ["kind", kinds.size === boxes.length ? "" : [...kinds].join(",") || "none"],
    ].filter(([_key, value]) => value);
    const hash = parts.map(([key, value]) => key + "=" + encodeURIComponent(value).replaceAll("%2C", ",").replaceAll("%2F", "/")).join("&");
    try {
      history.replaceState(null, "", hash ? "#" + hash : location.href.split("#")[0]);
    } catch {
      // A page without an address of its own has no links.
    }
  };

  const choose = (select, value) => {
    if (select) select.value = all("option", select).some((option) => option.value === value) ? value : "";
    return !value || (select && select.value === value);
  };

  const follow = () => {
    const parts = new URLSearchParams(location.hash.slice(1));
    if (!["cluster", "ns", "q", "kind"].some((key) => parts.get(key))) return;
    const kinds = parts.get("kind");
    for (const box of boxes) box.checked = !kinds || kinds.split(",").includes(box.value);
    one("q").value = parts.get("q") || "";
    const missing = ["cluster", "ns"].filter((key) => !choose(one("by-" + key), parts.get(key) || ""));
    filter();
    for (const key of missing) {
      one("shown").textContent = "This report has nothing to show of " + (key === "ns" ? "namespace " : "cluster ") + parts.get(key) + ". " + one("shown").textContent;
    }
    if (visible.length === 1) visible[0].open = true;
    folding();
    one("found").focus({ preventScroll: true });
    form.scrollIntoView();
  };

  if (form) {
    form.hidden = false;
    const changed = () => {
      filter();
      remember();
    };
    form.addEventListener("change", changed);
    one("q").addEventListener("input", changed);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => {
      setTimeout(() => {
        changed();
        one("q").focus(); // the button is gone, and with it the focus
      });
    });
    one("unfold").addEventListener("click", () => {
      const open = visible.some((row) => !row.open);
      for (const row of visible) row.open = open;
      folding();
    });
    document.addEventListener("toggle", folding, true);
    addEventListener("hashchange", follow);
    // A browser that comes back to the page may have kept what was chosen.
    for (const box of boxes) box.checked = true;
    for (const select of all("select", form)) select.value = "";
    one("q").value = "";
    filter();
    follow();
  }

  // Copying: the clipboard where the browser gives it, else its old command, else the text is selected for the person to copy.
  const copied = async (element) => {
    try {
      await navigator.clipboard.writeText(element.textContent);
      return true;
    } catch {
      getSelection().selectAllChildren(element);
      return document.execCommand("copy");
    }
  };

  for (const button of all(".copy")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const done = await copied(one(button.dataset.copy));
      button.textContent = done ? "Copied" : "Selected";
      one("said").textContent = done ? "Copied to the clipboard" : "Selected. Copy it with the keyboard.";
      setTimeout(() => {
        button.textContent = "Copy";
        one("said").textContent = "";
      }, 3000);
    });
  }

  // On paper there is nothing to unfold: few rows are printed with all that they hold, of many what the reader has unfolded.
  const closed = [];
  addEventListener("beforeprint", () => {
    if (!document.body.classList.contains("few")) return;
    for (const details of all("details:not([open])")) {
      details.open = true;
      closed.push(details);
    }
  });
  addEventListener("afterprint", () => {
    for (const details of closed.splice(0)) details.open = false;
  });
})();
