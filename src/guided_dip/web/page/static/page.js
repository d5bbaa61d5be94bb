/* What the page does in the browser: uploads, the mask that is drawn, slider, detail, copying. */
window.guidedDip = (() => {
  "use strict";
  const pictures = new Map(); // group -> its picture
  const own = new Map(); // token -> address of a picture that this browser has itself

  function pictureOf(kept) {
    return kept && (kept.view || own.get(kept.token) || null);
  }

  function describe(kept) {
    const colour = kept.channels === 1 ? "grey" : kept.channels === 2 || kept.channels === 4
      ? "with transparency" : "colour";
    const pages = kept.pages > 1 ? `, ${kept.pages} pages` : "";
    return `${kept.name}: ${kept.format}, ${kept.width} × ${kept.height}, ${kept.bits} bits, ` +
      `${colour}${pages}`;
  }

  async function send(file, limit) {
    if (file.size > limit) {
      const most = (limit / 2 ** 20).toPrecision(3).replace(/\.?0+$/, "");
      throw new Error(`the file is larger than ${most} MiB; try a smaller one or a crop of it`);
    }
    let answer;
    try {
      answer = await fetch(`page/uploads?name=${encodeURIComponent(file.name)}`, {
        method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: file,
      });
    } catch {
      throw new Error("the server cannot be reached; is it still running?");
    }
    let told = {};
    try { told = await answer.json(); } catch { /* not from us */ }
    if (!answer.ok) throw new Error(told.error || `the server refused it (${answer.status})`);
    if (!told.view) own.set(told.token, URL.createObjectURL(file));
    return told;
  }

  /* A place for a file: dropped on it, chosen, or pasted into it. */
  function drop(element, trigger, props, watch) {
    const box = element.querySelector(".gd-drop");
    const input = box.querySelector("input");
    const image = box.querySelector("img");
    const told = box.querySelector(".gd-told");
    const error = box.querySelector(".gd-error");
    const remove = box.querySelector(".gd-remove");
    let latest = 0;

    const show = () => {
      const kept = props.value;
      const address = pictureOf(kept);
      box.classList.toggle("gd-has", Boolean(kept));
      image.hidden = !address;
      if (address) { image.src = address; image.alt = `${props.label}: ${kept.name}`; }
      else image.removeAttribute("src");
      told.textContent = kept ? describe(kept) : "";
      remove.hidden = !kept;
      if (kept) error.textContent = "";
      if (props.role === "image") {
        pictures.set(props.group, kept);
        window.dispatchEvent(new CustomEvent(`gd-picture-${props.group}`, { detail: kept }));
      }
    };
    const set = (value) => { props.value = value; show(); trigger("change"); };
    const take = async (file) => {
      if (!file) return;
      const mine = ++latest;
      error.textContent = "";
      box.classList.add("gd-busy");
      told.textContent = `Uploading ${file.name} …`;
      try {
        const kept = await send(file, props.limit);
        if (mine === latest) set(kept);
      } catch (reason) {
        if (mine !== latest) return;
        if (props.value) set(null); else show();
        error.textContent = `${file.name}: ${reason.message}`;
      } finally {
        if (mine === latest) box.classList.remove("gd-busy");
        input.value = "";
      }
    };
    input.addEventListener("change", () => take(input.files[0]));
    remove.addEventListener("click", () => { latest += 1; set(null); input.focus(); });
    box.addEventListener("dragover", (event) => {
      event.preventDefault();
      box.classList.add("gd-over");
    });
    for (const name of ["dragleave", "drop"]) {
      box.addEventListener(name, () => box.classList.remove("gd-over"));
    }
    box.addEventListener("drop", (event) => {
      event.preventDefault();
      take(event.dataTransfer.files[0]);
    });
    box.addEventListener("paste", (event) => take(event.clipboardData.files[0]));
    watch("value", show);
    if (props.value) show();
  }

  /* The mask, drawn over the picture with a mouse, a finger, a pen, or arrow keys and Space. */
  function paint(element, trigger, props, watch) {
    const root = element.querySelector(".gd-paint");
    const image = root.querySelector("img");
    const canvas = root.querySelector("canvas");
    const cursor = root.querySelector(".gd-cursor");
    const told = root.querySelector(".gd-told");
    const size = root.querySelector(".gd-size");
    const erase = root.querySelector(".gd-erase");
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const undone = [];
    let last = null;
    let at = [0.5, 0.5];
    let painted = false;

    const reset = (kept) => {
      const address = pictureOf(kept);
      root.classList.toggle("gd-ready", Boolean(address));
      undone.length = 0;
      painted = false;
      if (!address) { give(); return; }
      image.src = address;
      canvas.width = kept.width;
      canvas.height = kept.height;
      canvas.parentElement.style.aspectRatio = `${kept.width} / ${kept.height}`;
      at = [0.5, 0.5];
      give();
    };
    const give = () => {
      let value = null;
      let share = 0;
      if (painted) {
        const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
        let count = 0;
        for (let k = 3; k < data.length; k += 4) {
          const on = data[k] >= 128;
          count += on;
          data[k - 3] = data[k - 2] = data[k - 1] = on ? 255 : 0;
          data[k] = 255;
        }
        share = count / (canvas.width * canvas.height);
        if (count) {
          const plain = document.createElement("canvas");
          plain.width = canvas.width;
          plain.height = canvas.height;
          plain.getContext("2d").putImageData(
            new ImageData(data, canvas.width, canvas.height), 0, 0);
          value = plain.toDataURL("image/png");
        }
      }
      told.textContent = value
        ? `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} % of the picture is to be filled in.`
        : "Nothing is drawn yet.";
      if (value !== (props.value || null)) { props.value = value; trigger("change"); }
    };
    const remember = () => {
      undone.push(context.getImageData(0, 0, canvas.width, canvas.height));
      if (undone.length * canvas.width * canvas.height > 2 ** 25) undone.shift();
    };
    const radius = () => Math.max(1, size.value / 200 * Math.max(canvas.width, canvas.height));
    const stroke = (from, to) => {
      context.globalCompositeOperation = erase.getAttribute("aria-pressed") === "true"
        ? "destination-out" : "source-over";
      context.strokeStyle = "#e0243c";
      context.lineCap = "round";
      context.lineWidth = 2 * radius();
      context.beginPath();
      context.moveTo(...from);
      context.lineTo(to[0] + 0.01, to[1]);
      context.stroke();
      painted = true;
    };
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width * canvas.width,
        (event.clientY - box.top) / box.height * canvas.height];
    };
    const follow = () => {
      const wide = 200 * radius() / canvas.width;
      cursor.style.left = `${at[0] * 100}%`;
      cursor.style.top = `${at[1] * 100}%`;
      cursor.style.width = `${wide}%`;
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      canvas.setPointerCapture(event.pointerId);
      remember();
      last = place(event);
      stroke(last, last);
      event.preventDefault();
      canvas.focus({ preventScroll: true });
    });
    canvas.addEventListener("pointermove", (event) => {
      const here = place(event);
      at = [here[0] / canvas.width, here[1] / canvas.height];
      follow();
      if (!last) return;
      stroke(last, here);
      last = here;
    });
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, () => { if (last) { last = null; give(); } });
    }
    canvas.addEventListener("focus", follow);
    canvas.addEventListener("keydown", (event) => {
      const far = event.shiftKey ? 0.1 : 0.02;
      const move = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far],
        ArrowDown: [0, far] }[event.key];
      const here = () => [at[0] * canvas.width, at[1] * canvas.height];
      if (move) {
        const from = here();
        at = at.map((value, k) => Math.min(1, Math.max(0, value + move[k])));
        if (event.ctrlKey) { remember(); stroke(from, here()); give(); }
      } else if (event.key === " ") {
        remember();
        stroke(here(), here());
        give();
      } else return;
      event.preventDefault();
      follow();
    });
    size.addEventListener("input", follow);
    erase.addEventListener("click", () => {
      erase.setAttribute("aria-pressed", String(erase.getAttribute("aria-pressed") !== "true"));
    });
    root.querySelector(".gd-undo").addEventListener("click", () => {
      const before = undone.pop();
      if (before) { context.putImageData(before, 0, 0); give(); }
    });
    root.querySelector(".gd-clear").addEventListener("click", () => {
      if (!canvas.width) return;
      remember();
      context.clearRect(0, 0, canvas.width, canvas.height);
      give();
    });
    window.addEventListener(`gd-picture-${props.group}`, (event) => reset(event.detail));
    reset(pictures.get(props.group));
  }

  /* Buttons that Python has drawn: what is pressed is told to it. */
  function press(element, trigger) {
    element.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-what]");
      if (button) trigger("select", { what: button.dataset.what, of: button.dataset.of || "" });
    });
  }

  function setPlace(detail) {
    const of = (name) => Number(detail.querySelector(name).value) / 100;
    const { w, h } = { w: Number(detail.style.getPropertyValue("--w")),
      h: Number(detail.style.getPropertyValue("--h")) };
    for (const pane of detail.querySelectorAll(".gd-zoom")) {
      const box = pane.getBoundingClientRect();
      const image = pane.querySelector("img");
      const at = (share, side, room) => {
        const whole = 4 * side;
        if (whole <= room) return (room - whole) / 2;
        return Math.min(0, Math.max(room - whole, room / 2 - share * whole));
      };
      image.style.width = `${4 * w}px`;
      image.style.height = `${4 * h}px`;
      image.style.left = `${at(of(".gd-x"), w, box.width)}px`;
      image.style.top = `${at(of(".gd-y"), h, box.height)}px`;
    }
  }

  function settle() {
    for (const detail of document.querySelectorAll(".gd-detail")) setPlace(detail);
    const job = document.querySelector("#gd-view .gd-job[data-job]");
    const id = job ? job.dataset.job : null;
    const address = new URL(location.href);
    if (id && address.searchParams.get("job") !== id) {
      address.searchParams.set("job", id);
      history.replaceState(history.state, "", address);
      const top = job.getBoundingClientRect().top;
      if (shown && top > innerHeight * 0.8) job.scrollIntoView();  // on a phone it is below
    }
  }

  document.addEventListener("input", (event) => {
    const input = event.target;
    if (input.matches(".gd-range")) {
      input.parentElement.style.setProperty("--at", `${input.value}%`);
      input.setAttribute("aria-valuetext", `${input.value} % before`);
    } else if (input.matches(".gd-x, .gd-y")) setPlace(input.closest(".gd-detail"));
  });
  document.addEventListener("click", async (event) => {
    const copy = event.target.closest(".gd-copy");
    const zoom = event.target.closest(".gd-zoom");
    if (copy) {
      const code = copy.closest(".gd-code").querySelector("code");
      try { await navigator.clipboard.writeText(code.textContent); copy.textContent = "Copied"; }
      catch {
        getSelection().selectAllChildren(code);
        copy.textContent = "Selected: copy it now";
      }
      setTimeout(() => { copy.textContent = "Copy"; }, 2500);
    } else if (zoom) {
      const detail = zoom.closest(".gd-detail");
      const box = zoom.querySelector("img").getBoundingClientRect();
      detail.querySelector(".gd-x").value = (event.clientX - box.left) / box.width * 100;
      detail.querySelector(".gd-y").value = (event.clientY - box.top) / box.height * 100;
      setPlace(detail);
    }
  });
  window.addEventListener("resize", settle);

  let watched = false;
  let shown = false;
  function ready() {
    if (watched) return;
    watched = true;
    document.title = "Guided-DIP";
    let due = false;
    new MutationObserver(() => {
      if (due) return;
      due = true;
      requestAnimationFrame(() => { due = false; settle(); });
    }).observe(document.body, { childList: true, subtree: true });
    settle();
    setTimeout(() => { shown = true; }, 1500);
  }
  return { drop, paint, press, ready };
})();
