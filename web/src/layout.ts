// Edges → a picture of boxes and curves, by dagre. Loaded only where a graph is shown.

import { Graph, layout } from "@dagrejs/dagre";
import { nodeKey, type Edge, type Node } from "./data";

export const WIDTH = 172;
export const HEIGHT = 64;

export interface Box {
  key: string;
  node: Node;
  x: number;
  y: number;
  /** What comes in, or goes out where nothing comes in. */
  rps: number;
  success: number | null;
}

export interface Curve {
  key: string;
  edge: Edge;
  path: string;
  x: number;
  y: number;
}

export interface Picture {
  boxes: Box[];
  curves: Curve[];
  width: number;
  height: number;
}

/** Returns the picture; positions are those of centres. */
export function drawn(edges: Edge[]): Picture {
  const graph = new Graph();
  graph.setGraph({ rankdir: "LR", nodesep: 26, ranksep: 96, marginx: 12, marginy: 12 });
  graph.setDefaultEdgeLabel(() => ({}));
  const nodes = new Map<string, Node>();
  for (const edge of edges) {
    nodes.set(nodeKey(edge.src), edge.src);
    nodes.set(nodeKey(edge.dst), edge.dst);
  }
  for (const key of nodes.keys()) graph.setNode(key, { width: WIDTH, height: HEIGHT });
  for (const edge of edges) {
    graph.setEdge(nodeKey(edge.src), nodeKey(edge.dst), { width: 60, height: 30, labelpos: "c" });
  }
  layout(graph);
  const boxes = [...nodes].map(([key, node]) => {
    const { x, y } = graph.node(key) as { x: number; y: number };
    const into = edges.filter((edge) => nodeKey(edge.dst) === key);
    const counted = into.length ? into : edges.filter((edge) => nodeKey(edge.src) === key);
    const rps = counted.reduce((sum, edge) => sum + edge.rps, 0);
    const good = counted.reduce((sum, edge) => sum + edge.rps * (edge.success ?? 0), 0);
    return { key, node, x, y, rps, success: rps > 0 ? good / rps : null };
  });
  const curves = edges.map((edge) => {
    const [from, to] = [nodeKey(edge.src), nodeKey(edge.dst)];
    const found = graph.edge(from, to) as { points: { x: number; y: number }[]; x: number; y: number };
    return { key: `${from} ${to}`, edge, path: smooth(found.points), x: found.x, y: found.y };
  });
  const size = graph.graph() as { width: number; height: number };
  return { boxes, curves, width: size.width, height: size.height };
}

/** A path through the points, rounded at each. */
function smooth(points: { x: number; y: number }[]): string {
  const [first, ...rest] = points;
  if (!first) return "";
  let path = `M${first.x} ${first.y}`;
  rest.forEach((point, at) => {
    const next = rest[at + 1];
    if (!next) path += `L${point.x} ${point.y}`;
    else path += `Q${point.x} ${point.y} ${(point.x + next.x) / 2} ${(point.y + next.y) / 2}`;
  });
  return path;
}
