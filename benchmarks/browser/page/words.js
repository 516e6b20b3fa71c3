// The page's texts, from one file: the reader's language where there is one, else English.

import { fetchBytes } from "./bytes.js";

const MOST_BYTES = 1 << 20;

/** Load the texts -> (name, values) -> the text, with {value} filled in. */
export async function loadWords(languages = navigator.languages) {
  const bytes = await fetchBytes(new URL("./texts.json", import.meta.url), MOST_BYTES);
  const all = JSON.parse(new TextDecoder().decode(bytes));
  const language = languages.map((one) => one.split("-")[0]).find((one) => one in all) ?? "en";
  const say = (name, values = {}) =>
    (all[language][name] ?? all.en[name] ?? name).replace(/\{(\w+)\}/g, (_, value) => String(values[value] ?? ""));
  const number = (value, digits) =>
    value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const percent = (share, digits = 0) => say("percent", { value: number(share * 100, digits) });
  return { language, say, number, percent, trouble: ({ code, values }) => say(`trouble_${code}`, values) };
}

/** Fill in every element that names its text in data-text, or the label that a screen reader tells in data-label. */
export function label(root, { language, say }) {
  document.documentElement.lang = language;
  for (const element of root.querySelectorAll("[data-text]")) element.textContent = say(element.dataset.text);
  for (const element of root.querySelectorAll("[data-label]")) element.ariaLabel = say(element.dataset.label);
}
