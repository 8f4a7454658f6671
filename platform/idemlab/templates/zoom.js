"use strict";
(() => {
  const dialog = document.createElement("dialog");
  dialog.className = "zoom";
  dialog.setAttribute("aria-label", "Enlarged figure");
  const form = document.createElement("form");
  form.method = "dialog";
  const stage = document.createElement("div");
  stage.className = "stage";
  dialog.append(stage, form);
  document.body.append(dialog);

  let x = 0, y = 0, scale = 1;
  const fingers = new Map();
  const draw = () => { stage.style.transform = `translate(${x}px, ${y}px) scale(${scale})`; };

  function fit() {
    scale = 1;
    x = y = 0;
    draw();
    const { width, height } = stage.getBoundingClientRect();
    const bar = 56; // pixels above, for the buttons
    scale = 0.97 * Math.min(innerWidth / width, (innerHeight - bar) / height);
    x = (innerWidth - width * scale) / 2;
    y = bar + (innerHeight - bar - height * scale) / 2;
    draw();
  }

  function enlarge(factor, atX = innerWidth / 2, atY = innerHeight / 2) {
    const next = Math.min(Math.max(scale * factor, 0.1), 60);
    x = atX - (atX - x) * next / scale;
    y = atY - (atY - y) * next / scale;
    scale = next;
    draw();
  }

  const button = (text, label, act) => {
    const made = document.createElement("button");
    made.type = act ? "button" : "submit";
    made.textContent = text;
    made.setAttribute("aria-label", label);
    if (act) made.addEventListener("click", act);
    return made;
  };
  form.append(
    button("−", "smaller", () => enlarge(1 / 1.5)),
    button("+", "larger", () => enlarge(1.5)),
    button("fit", "fit to the window", fit),
    button("close", "close"),
  );

  dialog.addEventListener("wheel", (event) => {
    event.preventDefault();
    enlarge(Math.exp(-event.deltaY / 400), event.clientX, event.clientY);
  }, { passive: false });
  dialog.addEventListener("pointerdown", (event) => {
    if (!form.contains(event.target)) fingers.set(event.pointerId, event);
  });
  dialog.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const other = [...fingers.values()].find((finger) => finger.pointerId !== event.pointerId);
    if (other) {
      const distance = (finger) => Math.hypot(finger.clientX - other.clientX, finger.clientY - other.clientY);
      enlarge(distance(event) / Math.max(distance(before), 1), other.clientX, other.clientY);
    } else {
      x += event.clientX - before.clientX;
      y += event.clientY - before.clientY;
      draw();
    }
    fingers.set(event.pointerId, event);
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    dialog.addEventListener(kind, (event) => fingers.delete(event.pointerId));
  }
  dialog.addEventListener("keydown", (event) => {
    const act = { "+": () => enlarge(1.5), "-": () => enlarge(1 / 1.5), 0: fit }[event.key];
    if (act) act();
  });
  dialog.addEventListener("close", () => { stage.replaceChildren(); fingers.clear(); });
  addEventListener("resize", () => { if (dialog.open) fit(); });

  for (const drawing of document.querySelectorAll(".drawing")) {
    const open = () => {
      const copy = drawing.cloneNode(true);
      stage.style.width = `${drawing.getBoundingClientRect().width}px`;
      stage.replaceChildren(copy);
      dialog.showModal();
      fit();
    };
    const shown = button("enlarge", "enlarge this figure", open);
    drawing.after(shown);
    drawing.addEventListener("dblclick", open);
  }
})();
