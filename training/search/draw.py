"""A genotype as a drawing: two graphs, normal and reduction cell (graphviz)."""

from __future__ import annotations

from pathlib import Path

import graphviz

from training.networks.genotypes import Genotype


def draw(genotype: Genotype, path: Path, title: str) -> bool:
    """Write a PNG (and nothing else) of both cells; False where Graphviz's `dot` is not installed."""
    graph = graphviz.Digraph(format="png", graph_attr={"rankdir": "LR", "label": title, "fontname": "sans"})
    graph.attr("node", shape="box", style="rounded,filled", fontname="sans", fontsize="11")
    graph.attr("edge", fontname="sans", fontsize="10")
    for name, edges in (("normal", genotype.normal), ("reduction", genotype.reduce)):
        with graph.subgraph(name=f"cluster_{name}") as cell:
            cell.attr(label=name)
            for index, label in enumerate(("cell k-2", "cell k-1")):
                cell.node(f"{name}{index}", label, fillcolor="#d8e8d0")
            for node in range(len(edges) // 2):
                cell.node(f"{name}{node + 2}", f"node {node}", fillcolor="#d6e4f2")
                for operation, source in edges[2 * node : 2 * node + 2]:
                    cell.edge(f"{name}{source}", f"{name}{node + 2}", label=operation)
                cell.edge(f"{name}{node + 2}", f"{name}out")
            cell.node(f"{name}out", "cell k", fillcolor="#f0e2c0")
    try:
        path.write_bytes(graph.pipe())
    except graphviz.ExecutableNotFound:
        return False
    return True
