// The query box: a condition, completed from the columns in plain words.

/** What could end a text: the part to replace, and [text to insert, words] for each choice. */
function completions(text, columns) {
  const value = text.match(/([\w-]+)\s*(?:==|!=)\s*['"]?([^'"]*)$/);
  const column = value && columns.find(one => one.name === value[1]);
  if (column?.values.length) {
    const begun = value[2].toLowerCase();
    const part = text.match(/['"]?[^'"=]*$/)[0].trimStart();
    return {part, found: column.values.filter(one => one.toLowerCase().startsWith(begun))
      .map(one => [`'${one}' `, one])};
  }
  // the words since the last operator, bracket or `and`
  const last = /^(?:.*(?:(?<![\w-])(?:and|or|not)(?![\w-])|[(<>=!&|~]))?\s*([\w\- :,]*)$/s;
  const part = text.match(last)?.[1] ?? "";
  const bare = words => words.toLowerCase().replace(/[^a-z0-9]+/g, " ").trim();
  const typed = bare(part);
  if (!typed || columns.some(one => one.name === part.trim())) return {part, found: []};
  const fits = one => typed.split(" ").every(piece => bare(`${one.words} ${one.name}`).includes(piece));
  const given = columns.flatMap(one => one.values.filter(value => bare(value).startsWith(typed))
    .map(value => [`${one.name} == '${value}' `, `${one.words}: ${value.replaceAll("_", " ")}`]))
    .sort(([, words], [, others]) => words.length - others.length);
  const found = columns.filter(fits);
  // a column whose words, or name, begin with what was typed comes first
  const rank = one => bare(one.words).startsWith(typed) || bare(one.name).startsWith(typed);
  found.sort((one, other) => rank(other) - rank(one));
  return {part, found: [...given, ...found.map(one => [`${one.name} `, one.words])].slice(0, 9)};
}

function makeQuery(app, bar) {
  const box = make(bar, "div", "gs-query");
  const list = make(null, "div", "gs-list", "", {role: "listbox", hidden: true, id: `${app.id}-list`,
    "aria-label": "columns"});
  const input = make(box, "input", "gs-text", "", {type: "text", spellcheck: false, autocomplete: "off",
    placeholder: "filter, such as confidence < 0.6 and label == 'spiral'", role: "combobox",
    "aria-label": "filter: a condition on the columns", "aria-expanded": "false",
    "aria-controls": `${app.id}-list`});
  box.append(list);
  let offered = {part: "", found: []}, active = -1;

  const close = () => { list.hidden = true; active = -1; input.setAttribute("aria-expanded", "false"); };
  const take = i => {
    const end = input.selectionStart, after = input.value.slice(end);
    const before = input.value.slice(0, end - offered.part.length) + offered.found[i][0];
    input.value = before + after;
    input.setSelectionRange(before.length, before.length);
    offer();
  };
  const mark = () => [...list.children].forEach((node, i) =>
    node.setAttribute("aria-selected", i === active));
  const offer = () => {
    offered = completions(input.value.slice(0, input.selectionStart), app.get("fixed").columns);
    active = -1;
    list.replaceChildren(...offered.found.map(([text, words], i) => {
      const node = make(null, "div", "gs-choice", "", {role: "option"});
      make(node, "span", "", words);
      if (text.trim() !== words) make(node, "span", "gs-code", text.trim());
      node.addEventListener("pointerdown", event => { event.preventDefault(); take(i); });
      return node;
    }));
    list.hidden = !offered.found.length;
    input.setAttribute("aria-expanded", !list.hidden);
  };
  input.addEventListener("input", offer);
  input.addEventListener("blur", close);
  input.addEventListener("keydown", event => {
    const open = !list.hidden;
    if (open && ["ArrowDown", "ArrowUp"].includes(event.key)) {
      const step = event.key === "ArrowDown" ? 1 : -1, size = offered.found.length;
      active = active < 0 && step < 0 ? size - 1 : (active + step + size) % size;
      mark();
      event.preventDefault();
    } else if (open && (event.key === "Enter" && active >= 0 || event.key === "Tab" && active >= 0)) {
      take(active);
      event.preventDefault();
    } else if (event.key === "Enter") {
      close();
      // a query that was applied gives the keyboard back to the gallery; a wrong one can be mended at once
      app.send({do: "query", text: input.value}, [], () => {
        if (!app.get("status").error && document.activeElement === input) app.home();
      });
    } else if (event.key === "Escape") {
      if (open) { close(); event.stopPropagation(); }
    }
  });
  let known = null;
  return {
    set(text) { if (text !== known) { known = text; input.value = text; close(); } },
    focus() { input.focus(); input.select(); },
  };
}
