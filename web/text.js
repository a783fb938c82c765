// Shows what our nodes say in words, below their widgets: ComfyUI draws the text output of its own Preview as Text only.
// The text comes with the node's output, so that cached runs and the queue's history bring it back, and it is kept in
// the node's properties, so that it is there again after a reload. It is gone when the next run begins.
import { app } from '../../scripts/app.js'

const NAME = 'prompt_fidelity_text'
const KEPT = 'Prompt Fidelity said'
const STYLE = 'width:100%;height:100%;box-sizing:border-box;resize:none;border:none;padding:6px;font:12px sans-serif;' +
  'background:var(--comfy-input-bg);color:var(--input-text);white-space:pre-wrap;overflow:auto'

const isOurs = (node) => node?.constructor?.nodeData?.name?.startsWith('Fidelity')

function widgetOf(node) {
  const known = node.widgets?.find((widget) => widget.name === NAME)
  if (known) return known
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

function show(node, output) {
  const said = output?.text
  if (!said) return
  const text = Array.isArray(said) ? said.join('\n\n') : String(said)
  node.properties[KEPT] = text
  widgetOf(node).value = text
  node.setDirtyCanvas?.(true, true)
}

function clear(node) {
  delete node.properties[KEPT]
  const widget = node.widgets?.find((one) => one.name === NAME)
  if (widget) widget.value = ''
}

app.registerExtension({
  name: 'PromptFidelity.text',
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name.startsWith('Fidelity')) return
    const { onExecuted, onConfigure } = nodeType.prototype
    nodeType.prototype.onExecuted = function (output) {
      onExecuted?.apply(this, arguments)
      show(this, output)
    }
    nodeType.prototype.onConfigure = function () {
      onConfigure?.apply(this, arguments)
      if (this.properties?.[KEPT]) show(this, { text: this.properties[KEPT] })
    }
  },
  onNodeOutputsUpdated(outputs) {
    for (const [id, output] of Object.entries(outputs)) {
      const node = app.graph?.getNodeById?.(Number(id)) ?? app.graph?.getNodeById?.(id)
      if (isOurs(node)) show(node, output)
    }
  },
  setup() {
    // What a cancelled run leaves would be the report of another picture.
    app.api.addEventListener('execution_interrupted', () => {
      for (const node of app.graph?.nodes ?? []) if (isOurs(node)) clear(node)
    })
  },
})
