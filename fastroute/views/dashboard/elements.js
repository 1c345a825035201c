// Creates and changes elements. Texts are inserted as text only, because names and reasons come from servers.

const SVG = "http://www.w3.org/2000/svg";

function byId(id) {
  return document.getElementById(id);
}

/** Return an HTML element with classes, attributes and children (elements or texts). */
function made(tag, { className = "", ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function drawn(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Unchanged values are not set again, so that a selection is kept and no layout is needed.

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function setClass(element, className) {
  if (element.getAttribute("class") !== className) element.setAttribute("class", className);
}

function setAttribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** Set the children of an element, in this order. */
function setChildren(parent, children) {
  const same =
    parent.childNodes.length === children.length &&
    children.every((child, place) => parent.childNodes[place] === child);
  if (same) return;
  const active = document.activeElement;
  parent.replaceChildren(...children);
  // A moved element loses the focus.
  if (active !== document.activeElement && parent.contains(active)) active.focus();
}
