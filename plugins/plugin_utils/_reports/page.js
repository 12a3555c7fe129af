// Copyright (c) 2026, The meshops.istio_precheck authors
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
(() => {
  "use strict";
  const one = (id) => document.getElementById(id);
  const all = (selector, within) => Array.from((within || document).querySelectorAll(selector));
  const form = one("filter");

  // What was found, as it is nested: looked up once, since a report may hold thousands.
  const clusters = all(".cluster").map((element) => ({
    element,
    key: element.dataset.c,
    namespaces: all(".ns", element).map((ns) => ({
      element: ns,
      name: ns.dataset.ns,
      workloads: all(".workload", ns).map((workload) => ({
        element: workload,
        entries: all(".entry", workload).map((entry) => ({ element: entry, kind: entry.dataset.k, weight: Number(entry.dataset.n) })),
      })),
    })),
  }));

  const set = (element, hidden) => {
    if (element.hidden !== hidden) element.hidden = hidden;
    return !hidden;
  };

  const filter = () => {
    const cluster = one("by-cluster") ? one("by-cluster").value : "";
    const namespace = one("by-ns").value;
    const boxes = all("input[name=kind]", form);
    const kinds = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    let shown = 0;
    let total = 0;
    for (const c of clusters) {
      const here = !cluster || c.key === cluster;
      set(c.element, !here);
      for (const ns of c.namespaces) {
        let some = false;
        for (const workload of ns.workloads) {
          let any = false;
          for (const entry of workload.entries) {
            total += entry.weight;
            const visible = here && (!namespace || ns.name === namespace) && kinds.has(entry.kind);
            if (visible) shown += entry.weight;
            set(entry.element, !visible);
            any = any || visible;
          }
          some = set(workload.element, !any) || some;
        }
        set(ns.element, !some);
      }
    }
    const whole = !cluster && !namespace && kinds.size === boxes.length;
    one("shown").textContent = shown.toLocaleString("en") + " of " + total.toLocaleString("en") + " shown";
    one("show-all").hidden = whole;
    one("none").hidden = shown > 0;
  };

  if (form) {
    form.hidden = false;
    form.addEventListener("change", filter);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => {
      setTimeout(() => {
        filter();
        one("by-ns").focus(); // the button is gone, and with it the focus
      });
    });
    // A browser that comes back to the page may have kept what was chosen.
    for (const box of all("input", form)) box.checked = true;
    for (const select of all("select", form)) select.value = "";
    filter();
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

  // On paper there is nothing to unfold.
  const closed = [];
  addEventListener("beforeprint", () => {
    for (const details of all("details:not([open])")) {
      details.open = true;
      closed.push(details);
    }
  });
  addEventListener("afterprint", () => {
    for (const details of closed.splice(0)) details.open = false;
  });
})();
