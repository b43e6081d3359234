"""A Ray cluster of two nodes on this machine; the second is killed once ROWS rows are written, and scoring goes on.

ray_cluster.py ROWS OUT WORDS...: `mobileiqa score WORDS --out OUT --engine ray` against that cluster.
"""

import sys
import threading
import time
from pathlib import Path

from ray.cluster_utils import Cluster

from mobileiqa import score


def main() -> int:
    """The exit code of the command; 3 where the node was not killed in the middle."""
    count, out, words = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    node = {"num_cpus": 1, "object_store_memory": 100 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    second = cluster.add_node(**node)
    killed = threading.Event()

    def kill() -> None:
        partial = Path(f"{out}.partial")
        while not partial.exists() or partial.read_bytes().count(b"\n") < count:
            time.sleep(0.01)
        cluster.remove_node(second, allow_graceful=False)
        killed.set()

    threading.Thread(target=kill, daemon=True).start()
    code = score.main([*words, "--out", out, "--engine", "ray", "--address", cluster.address])
    return code if killed.is_set() else 3


if __name__ == "__main__":
    sys.exit(main())
