// What both pages' scripts use: a plain script, before them.
const $ = (id) => document.getElementById(id);
const count = (n) => n.toLocaleString("en");

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function make(name, properties, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}
