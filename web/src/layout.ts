// Edges → a picture of boxes and curves, by dagre. Loaded only where a graph is shown.

import { Graph, layout } from "@dagrejs/dagre";
import { edgeKeyOf, nodeKey, type Edge, type Node } from "./data";

export const WIDTH = 176;
export const HEIGHT = 66;
/** Room of an edge's label. */
const LABEL = { width: 64, height: 34 };
const PAD = 14;
const HEAD = 20;

export interface Box {
  key: string;
  node: Node;
  x: number;
  y: number;
}

export interface Curve {
  key: string;
  path: string;
  x: number;
  y: number;
}

/** The frame around the boxes of one namespace. */
export interface Frame {
  namespace: string;
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface Picture {
  boxes: Box[];
  curves: Curve[];
  frames: Frame[];
  width: number;
  height: number;
}

/**
 * Returns the picture; positions are those of centres, frames' of their upper left corner.
 *
 * @param grouped Whether each namespace gets a frame.
 * @param upright Whether calls go down instead of to the right, for narrow screens.
 */
export function drawn(edges: Edge[], grouped: boolean, upright: boolean): Picture {
  const nodes = new Map<string, Node>();
  for (const edge of edges) {
    nodes.set(nodeKey(edge.src), edge.src);
    nodes.set(nodeKey(edge.dst), edge.dst);
  }
  const graph = new Graph({ compound: grouped });
  graph.setGraph({ rankdir: upright ? "TB" : "LR", nodesep: 22, edgesep: 16, ranksep: upright ? 30 : 64, marginx: 16, marginy: 16 });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const [key, node] of nodes) {
    graph.setNode(key, { width: WIDTH, height: HEIGHT });
    if (!grouped || !node.namespace) continue;
    const group = `ns ${node.namespace}`;
    if (!graph.hasNode(group)) graph.setNode(group, {});
    graph.setParent(key, group);
  }
  for (const edge of edges) {
    graph.setEdge(nodeKey(edge.src), nodeKey(edge.dst), { ...LABEL, labelpos: "c" });
  }
  layout(graph);
  const boxes = [...nodes].map(([key, node]) => {
    const { x, y } = graph.node(key) as { x: number; y: number };
    return { key, node, x, y };
  });
  const curves = edges.map((edge) => {
    const [from, to] = [nodeKey(edge.src), nodeKey(edge.dst)];
    const found = graph.edge(from, to) as { points: Point[]; x: number; y: number };
    const middle = { x: found.x, y: found.y };
    return { key: edgeKeyOf(edge), path: smooth(through(found.points, middle, upright ? "y" : "x")), ...middle };
  });
  const frames = framed(boxes);
  const size = graph.graph() as { width: number; height: number };
  const shown = grouped ? frames : [];
  const edge = (values: number[]) => Math.max(0, ...values);
  return {
    boxes,
    curves,
    frames: shown,
    width: edge([size.width, ...shown.map((one) => one.x + one.width + PAD)]),
    height: edge([size.height, ...shown.map((one) => one.y + one.height + PAD)]),
  };
}

interface Point {
  x: number;
  y: number;
}

function framed(boxes: Box[]): Frame[] {
  const found = new Map<string, Box[]>();
  for (const box of boxes) {
    if (box.node.namespace) found.set(box.node.namespace, [...(found.get(box.node.namespace) ?? []), box]);
  }
  return [...found].map(([namespace, own]) => {
    const left = Math.min(...own.map((box) => box.x)) - WIDTH / 2 - PAD;
    const top = Math.min(...own.map((box) => box.y)) - HEIGHT / 2 - PAD - HEAD;
    const right = Math.max(...own.map((box) => box.x)) + WIDTH / 2 + PAD;
    const bottom = Math.max(...own.map((box) => box.y)) + HEIGHT / 2 + PAD;
    return { namespace, x: left, y: top, width: right - left, height: bottom - top };
  });
}

/** The points with both ends of the label among them, so that the line passes straight through it. */
function through(points: Point[], middle: Point, along: "x" | "y"): Point[] {
  const half = (along === "x" ? LABEL.width : LABEL.height) / 2;
  const ends = [-half, half].map((by) => ({ ...middle, [along]: middle[along] + by }));
  const before = points.filter((point) => point[along] < middle[along] - half);
  const after = points.filter((point) => point[along] > middle[along] + half);
  return before.length && after.length ? [...before, ...ends, ...after] : points;
}

/** A path through the points, rounded at each. */
function smooth(points: Point[]): string {
  const [first, ...rest] = points;
  if (!first) return "";
  let path = `M${round(first.x)} ${round(first.y)}`;
  rest.forEach((point, at) => {
    const next = rest[at + 1];
    if (!next) path += `L${round(point.x)} ${round(point.y)}`;
    else path += `Q${round(point.x)} ${round(point.y)} ${round((point.x + next.x) / 2)} ${round((point.y + next.y) / 2)}`;
  });
  return path;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
