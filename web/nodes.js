// What the page's scripts share: which nodes are ours, and the widget below the others that shows what a node says.
import { app } from '../../scripts/app.js'
import { said } from './said.js'

const NAME = 'prompt_fidelity_text'
const STYLE = 'width:100%;height:100%;box-sizing:border-box;resize:none;border:none;padding:6px;font:12px sans-serif;' +
  'background:var(--comfy-input-bg);color:var(--input-text);white-space:pre-wrap;overflow:auto'

export const isOurs = (node) => node?.constructor?.nodeData?.name?.startsWith('Fidelity')

/** The node of an id such as "5" or, inside a subgraph, "5:3". */
export function nodeOf(id) {
  let graph = app.rootGraph ?? app.graph
  let node
  for (const part of String(id).split(':')) {
    node = graph?.getNodeById?.(Number(part)) ?? graph?.getNodeById?.(part)
    graph = node?.subgraph
  }
  return node
}

/** All of our nodes, those in subgraphs too. */
export function ours() {
  const root = app.rootGraph ?? app.graph
  return [root, ...(root?.subgraphs?.values() ?? [])].flatMap((graph) => graph?.nodes ?? []).filter(isOurs)
}

/** Shows a text on a node, below its widgets, in the page's language; without one the place stays, if there is one. */
export function write(node, text) {
  const widget = node.widgets?.find((one) => one.name === NAME) ?? (text ? added(node) : undefined)
  if (!widget) return
  widget.value = said(text) ?? ''
  node.setDirtyCanvas?.(true, true)
}

function added(node) {
  const element = document.createElement('textarea')
  element.readOnly = true
  element.style.cssText = STYLE
  const widget = node.addDOMWidget(NAME, 'fidelity_text', element, {
    serialize: false,
    hideInPanel: true,
    getMinHeight: () => 70,
    getValue: () => element.value,
    setValue: (text) => { element.value = text ?? '' },
  })
  widget.serialize = false
  return widget
}
