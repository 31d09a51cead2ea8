"""A control: prototypes as they are, but given to the wrong regions and linked to the wrong slides.

If the prototype terms help because their targets follow the structure of slides, they do not help here.
"""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from slpd.artifacts.prototypes import read_prototypes, write_prototypes
from slpd.artifacts.slide_graph import read_slide_graph, write_slide_graph


def shuffle_targets(prototypes: Path, graph: Path, rng: np.random.Generator) -> None:
    """Deal each slide's assignments anew to its regions, and link every slide to any other one."""
    content = read_prototypes(prototypes)
    dealt = [rng.permutation(content.assignments[start:stop]) for start, stop in pairwise(content.offsets)]
    write_prototypes(prototypes, replace(content, assignments=np.concatenate(dealt)))
    links = read_slide_graph(graph)
    ring = rng.permutation(len(links.slides))
    neighbours = np.empty_like(links.neighbours)
    for rank in range(neighbours.shape[1]):
        neighbours[ring, rank] = np.roll(ring, rank + 1)
    write_slide_graph(graph, replace(links, neighbours=neighbours))
