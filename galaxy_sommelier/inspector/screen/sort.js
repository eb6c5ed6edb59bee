// Sort mode: one galaxy, its answers as buttons with a pictured example, the last five to undo from.

function makeSort(app) {
  const box = make(app.body, "section", "gs-sort", "", {"aria-label": "sort", tabIndex: -1});
  const middle = make(box, "div", "gs-middle");
  const frame = make(middle, "div", "gs-large");
  const image = make(frame, "img", "gs-image", "", {alt: "", draggable: false});
  const problem = make(frame, "div", "gs-problem");
  const over = make(middle, "div", "gs-over", "", {role: "status"});
  const question = make(middle, "div", "gs-ask");
  const answers = make(middle, "div", "gs-cards", "", {role: "group", "aria-label": "answers"});
  const side = make(box, "div", "gs-side");
  const progress = make(side, "div", "gs-progress", "", {role: "progressbar", "aria-label": "labelled",
    "aria-valuemin": 0});
  const bar = make(progress, "div"), done = make(side, "div", "gs-done");
  const steps = make(side, "div", "gs-steps");
  keycap(button(steps, "skip", "key space", () => app.send({do: "skip"}), "gs-answer"), "space");
  keycap(button(steps, "undo", "key u", () => app.send({do: "undo"}), "gs-answer"), "u");
  make(side, "div", "gs-question", "last five: click to undo");
  const strip = make(side, "div", "gs-last");
  app.sortPanel = box;

  app.on("image", one => {
    const known = one.jpeg?.byteLength;
    if (known) fill(image, one.jpeg);
    image.hidden = !known;
    image.alt = one.alt;
    problem.textContent = known ? "" : one.problem;
  });
  app.on("examples", list => keepFocus(app, () => {
    answers.replaceChildren();
    list.forEach((one, i) => {
      const node = answerButton(app, answers, one.value, "", i);
      node.classList.add("gs-card-answer");
      node.dataset.value = one.value;  // new facts may be drawn before these answers are
      node.setAttribute("aria-label", one.words);
      node.prepend(make(null, "span", "", one.words));
      if (one.jpeg?.byteLength) {
        const example = make(null, "span", "gs-example");
        picture(example, one.jpeg, `example of ${one.words}: ${one.id}`);
        node.prepend(example);
      }
    });
  }));
  const draw = () => keepFocus(app, () => {
    const one = app.get("sorting");
    if (!one.progress) return;
    const mine = app.get("facts").mine ?? {}, field = app.get("controls").task || "label";
    question.textContent = one.question;
    make(question, "span", "gs-quiet", app.get("facts").id ?? "");
    for (const node of answers.children) {
      node.setAttribute("aria-pressed", node.dataset.value === mine[field]);
    }
    const {done: ready, total, skipped, test} = one.progress;
    bar.style.width = `${total ? 100 * ready / total : 0}%`;
    progress.setAttribute("aria-valuenow", ready);
    progress.setAttribute("aria-valuemax", total);
    done.replaceChildren();
    make(done, "b", "", `${count(ready)} of ${count(total)} labelled`);
    if (skipped) make(done, "div", "gs-quiet", `${count(skipped)} skipped`);
    if (test) make(done, "div", "gs-quiet", `${count(test)} test galaxies are not asked`);
    drawLast(app, strip, one.last);
    for (const node of [frame, question, answers]) node.hidden = one.ended;
    drawOver(app, over, one);
  });
  for (const name of ["sorting", "facts", "examples"]) app.on(name, draw);
}

function drawLast(app, strip, last) {
  strip.replaceChildren();
  for (const one of last) {
    const node = button(strip, "", `undo ${one.words} of ${one.id}`,
      event => event.detail < 2 && app.send({do: "undo", id: one.id}), "gs-mini");
    if (one.jpeg?.byteLength) picture(node, one.jpeg, one.id);
    make(node, "span", "", one.words);
  }
}

function drawOver(app, over, one) {
  over.hidden = !one.ended;
  over.replaceChildren();
  if (!one.ended) return;
  const {done, total, skipped} = one.progress;
  make(over, "div", "gs-title", total ? "The end of this queue" : "Nothing to ask here",
    {role: "heading", "aria-level": 3});
  make(over, "div", "", total ? `${count(done)} of ${count(total)} galaxies are labelled.` : one.why);
  const line = make(over, "div", "gs-next");
  keycap(button(line, "suggest 50 more", "key Enter", () => app.send({do: "suggest"}), "gs-answer"), "Enter");
  if (skipped) {
    button(line, `ask the skipped again (${count(skipped)})`, "", () => app.send({do: "again"}), "gs-answer");
  }
  button(line, "all galaxies", "no filter, queue or question", () => app.send({do: "all"}), "gs-answer");
}
