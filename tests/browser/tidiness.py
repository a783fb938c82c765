"""How tidy a graph lies on the page: nodes over nodes, wires behind foreign nodes, wires that cross."""

from comfy_page import ComfyPage

# Places are those that the page draws; a wire is the spline between its two slots, in straight pieces.
MEASURE = """graph => {
    const PIECES = 24
    const nodes = graph.nodes
    const name = node => node.title
    const boxes = new Map(nodes.map(node => [node.id, [...node.boundingRect]]))
    const overlaps = []
    nodes.forEach((a, i) => nodes.slice(i + 1).forEach(b => {
        const [ax, ay, aw, ah] = boxes.get(a.id), [bx, by, bw, bh] = boxes.get(b.id)
        if (ax < bx + bw && bx < ax + aw && ay < by + bh && by < ay + ah) overlaps.push(`${name(a)} | ${name(b)}`)
    }))
    const wires = [...graph.links.values()].filter(link => link.origin_id >= 0 && link.target_id >= 0).map(link => {
        const from = graph.getNodeById(link.origin_id), to = graph.getNodeById(link.target_id)
        const [x0, y0] = from.getOutputPos(link.origin_slot), [x1, y1] = to.getInputPos(link.target_slot)
        const pull = Math.hypot(x1 - x0, y1 - y0) / 4
        const points = Array.from({length: PIECES + 1}, (_, i) => {
            const t = i / PIECES, u = 1 - t
            const at = (a, b, c, d) => u*u*u*a + 3*u*u*t*b + 3*u*t*t*c + t*t*t*d
            return [at(x0, x0 + pull, x1 - pull, x1), at(y0, y0, y1, y1)]
        })
        const ends = [from.outputs[link.origin_slot].name, to.inputs[link.target_slot].name]
        return {link, points, from, to, text: `${name(from)}.${ends[0]} > ${name(to)}.${ends[1]}`}
    })
    const hidden = wires.flatMap(({points, from, to, text}) => nodes.filter(node => node !== from && node !== to)
        .filter(node => { const [x, y, w, h] = boxes.get(node.id)
            return points.some(([px, py]) => px > x && px < x + w && py > y && py < y + h) })
        .map(node => `${text} behind ${name(node)}`))
    const side = ([ax, ay], [bx, by], [cx, cy]) => Math.sign((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))
    const meet = (a, b, c, d) => side(a, b, c) * side(a, b, d) < 0 && side(c, d, a) * side(c, d, b) < 0
    const crossings = []
    wires.forEach((one, i) => wires.slice(i + 1).forEach(two => {
        if (one.link.origin_id === two.link.origin_id && one.link.origin_slot === two.link.origin_slot) return
        for (let k = 0; k < PIECES; k++) for (let l = 0; l < PIECES; l++)
            if (meet(one.points[k], one.points[k + 1], two.points[l], two.points[l + 1])) {
                crossings.push(`${one.text} x ${two.text}`)
                return
            }
    }))
    return {nodes: nodes.length, wires: wires.length, overlaps, hidden, crossings}
}"""


def tidiness(comfy: ComfyPage, graph: str = "app.graph") -> dict:
    """{nodes, wires: how many; overlaps, hidden, crossings: one line each} of a graph of the page."""
    return comfy.page.evaluate(f"({MEASURE})({graph})")
