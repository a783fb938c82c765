// What our nodes say while they run, in the page's language. The server says it in English, as it has to: an error is
// bare text to the host. A sentence is recognised here by its English (locales/en/main.json: text with {holes}) and said
// by the other language's sentence of the same name, with what stood in the holes. What isn't known stays English.
import { app } from '../../scripts/app.js'

const HOLE = /\{(\w+)\}/g
const OURS = 'promptFidelity' // our part of the host's translations

let translations = {}
const books = {}

app.registerExtension({
  name: 'PromptFidelity.said',
  async init() { // over before the page opens a graph
    translations = await (await app.api.fetchApi('/i18n')).json()
  },
})

/** A text of one of our nodes, whole or in lines, in the page's language. */
export function said(text) {
  const book = bookOf(app.extensionManager.setting.get('Comfy.Locale'))
  if (!book.length || !text) return text
  const pieces = text.split(/(\n| {2,})/) // a verdict's objects stand two spaces apart, and lists are indented
  return pieces.map((piece) => piece.replace(/^(- )?(.*)$/, (_, bullet, rest) => (bullet ?? '') + line(rest, book))).join('')
}

/** The sentences of a language, those with most words of their own first: [{ pattern, holes, other }]. */
function bookOf(language) {
  const english = translations.en?.[OURS] ?? {}
  const other = language === 'en' ? {} : translations[language]?.[OURS] ?? {}
  return books[language] ??= Object.keys(english).filter((name) => other[name]).map((name) => {
    const parts = english[name].trim().split(HOLE) // text and holes in turn
    const pattern = parts.map((part, i) => (i % 2 ? '(.+?)' : part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))).join('')
    return {
      pattern: new RegExp(`^${pattern}$`),
      holes: parts.filter((_, i) => i % 2),
      own: parts.filter((_, i) => i % 2 === 0).join('').length,
      other: other[name].trim(),
    }
  }).sort((a, b) => b.own - a.own)
}

const line = (text, book) => two(text, book) ?? known(text, book) ?? text

/** Two sentences that are both known, one behind the other: "..., the first. The second" or "the first; the second". */
function two(text, book) {
  for (const joint of ['; ', '. ']) {
    const at = text.lastIndexOf(joint)
    if (at < 1 || !known(text.slice(at + 2), book)) continue
    const first = joint === '; ' ? text.slice(0, at) : text.slice(0, at + 1)
    const before = two(first, book) ?? known(first, book)
    const after = joint === '; ' ? known(text.slice(at), book) : known(text.slice(at + 2), book)
    if (before) return before + (joint === '; ' || /[。！？]$/.test(before) ? '' : ' ') + after
  }
}

function known(text, book) {
  for (const { pattern, holes, other } of book) {
    const found = pattern.exec(text)
    if (!found) continue
    const filled = Object.fromEntries(holes.map((hole, i) => [hole, line(found[i + 1], book)]))
    return other.replace(HOLE, (_, hole) => filled[hole])
  }
}
