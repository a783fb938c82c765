// Says what went wrong, in a message and on the node: ComfyUI's own message says that a node failed, and hides why.
import { app } from '../../scripts/app.js'
import { isOurs, nodeOf, write } from './nodes.js'
import { said } from './said.js'

// The classes whose message is all that the artist needs (core/errors.py), as the host names them. A node of the host's
// fails with one of them as well: a sampler, where the model that it was given cannot be steered.
const PLAIN = new Set(['HostError', 'MethodError', 'WordNotFound'])
const SECONDS = 15

let message

function forget() {
  if (message) app.extensionManager.toast.remove(message)
  message = undefined
}

app.registerExtension({
  name: 'PromptFidelity.errors',
  setup() {
    app.api.addEventListener('execution_start', forget)
    app.api.addEventListener('execution_error', ({ detail }) => {
      if (!PLAIN.has(detail.exception_type) && !detail.node_type?.startsWith('Fidelity')) return
      const node = nodeOf(detail.node_id)
      const sentence = detail.exception_message.trim()
      message = { severity: 'error', summary: node?.title ?? detail.node_type, detail: said(sentence), life: SECONDS * 1000 }
      app.extensionManager.toast.add(message)
      if (isOurs(node)) write(node, sentence)
    })
  },
})
