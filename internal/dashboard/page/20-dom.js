// Elements. Whatever comes from the gateway gets into the page as text only.

const byId = (id) => document.getElementById(id);

// el makes an element. Attributes that are null or false are left out; what
// begins with "on" is a listener.
function el(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svg(tag, attributes, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== "").map((c) => (c instanceof Node ? c : String(c))));
  return node;
}

// say sets a text where it is another one, so that nothing is read out or
// selected anew.
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function set(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

// keyed brings the children of a parent in line with a list: what has the same
// key stays the same element. make(item) gives an element; update(element, item)
// fills it.
function keyed(parent, list, key, make, update) {
  const before = parent.byKey || new Map();
  const after = new Map();
  let place = parent.firstElementChild;
  for (const item of list) {
    const k = key(item);
    if (after.has(k)) continue;
    const node = before.get(k) || make(item);
    after.set(k, node);
    update(node, item);
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
  }
  for (const [k, node] of before) if (after.get(k) !== node) node.remove();
  parent.byKey = after;
}

// Table is a table with a caption in a box that scrolls sideways by itself, so
// that the page never does.
class Table {
  // columns are {title, number, help, first}. On a narrow screen a table that folds
  // has a box for each row, in which those that are first come first.
  constructor(caption, columns, hideCaption, folds) {
    this.columns = columns;
    this.body = el("tbody", { role: "rowgroup" });
    this.caption = el("caption", { class: hideCaption ? "hidden" : null }, caption);
    this.node = el("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": caption },
      // The roles are those that the elements have until a style folds them.
      el("table", { class: folds ? "folds" : null, role: "table" }, this.caption,
        el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, columns.map((c) => el("th", { scope: "col", role: "columnheader", class: c.number ? "number" : null, title: c.help }, c.title)))),
        this.body));
  }

  // update takes rows {key, cells}; a cell is a text or {text, title, mark, note}. The
  // first one is the row's heading.
  update(rows) {
    keyed(this.body, rows, (r) => r.key, (r) => el("tr", { role: "row" }, this.columns.map((c, i) =>
      el(i ? "td" : "th", { class: [c.number && "number", c.first && "first"].filter(Boolean).join(" ") || null, scope: i ? null : "row", role: i ? "cell" : "rowheader", "data-title": c.title }, el("span"), c.note ? el("small") : null))),
    (tr, r) => {
      r.cells.forEach((cell, i) => {
        const td = tr.children[i];
        const c = typeof cell === "object" && cell ? cell : { text: cell || "" };
        say(td.firstChild, c.text || "");
        set(td.firstChild, "class", c.mark || "");
        if (td.children[1]) say(td.children[1], c.note || "");
        if (c.title) set(td, "title", c.title);
      });
    });
    this.node.hidden = rows.length === 0;
  }
}
