// Shows what our nodes say in words, below their widgets: ComfyUI draws the text output of its own Preview as Text only.
// The text comes with the node's output, so that cached runs and the queue's history bring it back, and it is kept in
// the node's properties, so that it is there again after a reload.
import { app } from '../../scripts/app.js'
import { isOurs, nodeOf, ours, write } from './nodes.js'

const KEPT = 'Prompt Fidelity said'

function show(node, output) {
  const said = output?.text
  if (!said) return
  node.properties[KEPT] = Array.isArray(said) ? said.join('\n\n') : String(said)
  write(node, node.properties[KEPT])
}

// The page keeps the graph for the next reload when it is told of a change: here, of the texts of a run.
function keep() {
  const tracker = app.extensionManager?.workflow?.activeWorkflow?.changeTracker
  const noticed = tracker?.captureCanvasState ?? tracker?.checkState
  noticed?.call(tracker)
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
      if (this.properties?.[KEPT]) write(this, this.properties[KEPT])
    }
  },
  onNodeOutputsUpdated(outputs) {
    for (const [id, output] of Object.entries(outputs)) {
      const node = nodeOf(id)
      if (isOurs(node)) show(node, output)
    }
  },
  setup() {
    app.api.addEventListener('execution_success', keep)
    // A run that failed leaves its error on the node: what was said before is back when the next one begins.
    app.api.addEventListener('execution_start', () => {
      for (const node of ours()) write(node, node.properties?.[KEPT])
    })
    // What a cancelled run leaves would be the report of another picture.
    app.api.addEventListener('execution_interrupted', () => {
      for (const node of ours()) {
        delete node.properties[KEPT]
        write(node, '')
      }
      keep()
    })
  },
})
