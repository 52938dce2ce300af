// The page of the REST API: draws the schema with elements and text only, so that nothing in it can become code.
"use strict";

const METHODS = ["get", "head", "post", "put", "patch", "delete"];
const DEPTH_MAX = 4;
const place = document.getElementById("operations");
const state = document.getElementById("state");

document.getElementById("filter").addEventListener("input", (event) => narrow(event.target.value.toLowerCase()));
show();

async function show() {
  try {
    const answer = await fetch(place.dataset.schema);
    if (!answer.ok) throw new Error(`the registry answered ${answer.status}`);
    const schema = await answer.json();
    const groups = byTag(schema);
    for (const tag of [...groups.keys()].sort()) place.append(group(schema, tag, groups.get(tag)));
    narrow("");
  } catch (error) {
    state.textContent = `The description could not be loaded: ${error.message}. Reload the page to try again.`;
  }
}

function byTag(schema) {
  const groups = new Map();
  for (const [path, methods] of Object.entries(schema.paths)) {
    for (const method of METHODS.filter((name) => name in methods)) {
      const tag = methods[method].tags?.[0] ?? "other";
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push({ path, method, ...methods[method] });
    }
  }
  return groups;
}

function group(schema, tag, operations) {
  return element("section", {}, element("h2", {}, tag), ...operations.map((one) => operation(schema, one)));
}

function operation(schema, one) {
  const title = `${one.method.toUpperCase()} ${one.path}`;
  const note = one["x-not-implemented"] ? " (not there yet: answers 501)" : "";
  const details = element("details", {}, element("summary", {}, element("code", {}, title), note));
  details.dataset.text = `${title} ${one.operationId} ${one.description ?? ""}`.toLowerCase();
  details.addEventListener("toggle", () => fill(schema, one, details), { once: true });
  return details;
}

function fill(schema, one, details) {
  if (one.description) details.append(element("p", {}, one.description));
  if (one.parameters?.length) details.append(parameters(one.parameters));
  const body = Object.values(one.requestBody?.content ?? {})[0];
  if (body) details.append(element("p", {}, "Body"), example(schema, body.schema));
  for (const [status, answer] of Object.entries(one.responses ?? {})) {
    details.append(element("p", {}, element("code", {}, status), ` ${answer.description ?? ""}`));
    const content = Object.values(answer.content ?? {})[0];
    if (content && status.startsWith("2")) details.append(example(schema, content.schema));
  }
}

function parameters(list) {
  const rows = list.map((one) =>
    element("tr", {}, element("td", {}, element("code", {}, one.name)), element("td", {}, one.in), element("td", {}, one.description ?? "")));
  return element("table", {}, element("tbody", {}, ...rows));
}

function example(schema, described) {
  return element("pre", {}, element("code", {}, JSON.stringify(sketch(schema, described, 0), null, 2)));
}

// What a value of a schema looks like: its fields by name, each with the name of its type.
function sketch(schema, described, depth) {
  const known = resolved(schema, described ?? {});
  const one = known.anyOf?.find((choice) => choice.type !== "null") ?? known;
  const inner = resolved(schema, one);
  if (depth > DEPTH_MAX) return "…";
  if (inner.items) return [sketch(schema, inner.items, depth + 1)];
  if (inner.properties) {
    return Object.fromEntries(Object.entries(inner.properties).map(([name, field]) => [name, sketch(schema, field, depth + 1)]));
  }
  return inner.format ?? inner.type ?? "any";
}

function resolved(schema, described) {
  if (!described.$ref) return described;
  return described.$ref.replace("#/", "").split("/").reduce((node, part) => node?.[part], schema) ?? {};
}

function narrow(text) {
  let shown = 0;
  for (const details of place.querySelectorAll("details")) {
    details.hidden = !details.dataset.text.includes(text);
    shown += details.hidden ? 0 : 1;
  }
  for (const section of place.querySelectorAll("section")) {
    section.hidden = section.querySelector("details:not([hidden])") === null;
  }
  state.textContent = shown === 1 ? "1 operation" : `${shown} operations`;
}

function element(name, attributes, ...children) {
  const made = Object.assign(document.createElement(name), attributes);
  made.append(...children);
  return made;
}
