"""What LiteRT's interpreter hands to its delegate, as one JSON line: `python -P runtime_probe.py FILE`.

The interpreter lists delegate nodes after its own, but not what each of them replaced, so the file is loaded
twice: as usual, where every delegate node is a partition, and with node fusion off, where every delegate node
stands for one operator and has its outputs. A script of its own, because a bad file may end the process.
"""

import json
import sys


def delegate_nodes(path: str, fused: bool) -> tuple[int, list[list[int]]]:
    """(operators in the file, output tensor indices of every delegate node) of one fresh load."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(
        model_path=path, num_threads=1, experimental_disable_delegate_node_fusion=not fused
    )
    interpreter.allocate_tensors()
    nodes = interpreter._get_ops_details()
    delegates = [[int(t) for t in n["outputs"]] for n in nodes if n["op_name"] == "DELEGATE"]
    return len(nodes) - len(delegates), delegates


def main() -> int:
    """Prints {"total", "partitions", "outputs"}, or {"error"} when the file does not load."""
    try:
        total, partitions = delegate_nodes(sys.argv[1], fused=True)
        outputs = delegate_nodes(sys.argv[1], fused=False)[1]
    except (RuntimeError, ValueError) as error:
        print(json.dumps({"error": str(error)}))  # noqa: T201
        return 1
    print(json.dumps({"total": total, "partitions": len(partitions), "outputs": outputs}))  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
