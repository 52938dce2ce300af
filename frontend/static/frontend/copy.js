// The copy buttons: `data-copy` is what goes to the clipboard. One listener, so that rows which htmx brings work too.
"use strict";

const SHOWN_MS = 1600;

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (button === null) return;
  const isCopied = await copy(button.dataset.copy);
  confirm(button, isCopied ? "Copied" : "Press Ctrl+C");
});

async function copy(text) {
  if (!window.isSecureContext) return copyBySelection(text); // plain HTTP: browsers keep the clipboard API to themselves
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

function copyBySelection(text) {
  const field = document.createElement("textarea");
  field.className = "hidden";
  field.value = text;
  field.readOnly = true;
  document.body.append(field);
  field.select();
  const isCopied = document.execCommand("copy");
  field.remove();
  return isCopied;
}

function confirm(button, message) {
  const announcement = document.createElement("span");
  announcement.className = "copied";
  announcement.setAttribute("role", "status");
  announcement.textContent = message;
  button.after(announcement);
  setTimeout(() => announcement.remove(), SHOWN_MS);
}
