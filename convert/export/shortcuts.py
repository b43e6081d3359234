"""litert-torch's two slow steps, done only for what they change: the same bytes, for half of the time.

Between PyTorch's program and the flatbuffer it traces the whole program anew three times, to decompose a few operators,
and has JAX write each operator's StableHLO: a context, two parsers and a pass manager for one line. Here the traces
after the first take the operators that change, all in one trace, and leave the others where they are; and the commonest
operators are written directly. What is not known to be equal goes the long way.
"""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram
    from torch.fx import Graph, Node

    Decompositions = Mapping[Any, Callable[..., Any]]

ORIGIN = (
    "nn_module_stack",
    "from_node",
    "stack_trace",
    "source_fn_stack",
    "torch_fn",
)  # of a node: its tensor's name
FUNCTIONAL = "ATEN"  # the dialect of programs that were decomposed once: no operator changes its input


@contextmanager
def shortcuts() -> Iterator[None]:
    """In the block, litert-torch takes the short ways."""
    from litert_torch.backend.lowerings import registry
    from torch.export import ExportedProgram

    whole, lowerings = ExportedProgram.run_decompositions, registry.global_registry.registered_ops
    registered = dict(lowerings)

    def decomposed(program: "ExportedProgram", decomp_table: Any = None, **options: Any) -> "ExportedProgram":
        short = decomp_table is not None and not options and decompose(program, decomp_table)
        return program if short else whole(program, decomp_table, **options)

    ExportedProgram.run_decompositions = decomposed
    lowerings.update(direct_lowerings(registry.lookup))
    try:
        yield
    finally:
        ExportedProgram.run_decompositions = whole
        lowerings.clear()
        lowerings.update(registered)


def decompose(program: "ExportedProgram", table: "Decompositions") -> bool:
    """Decomposes `program` in place, as its run_decompositions(table) would; False, nothing changed, where it cannot.

    Nodes that the table decomposes, Python functions that passes put in and composites of PyTorch itself are traced,
    together; all others stay, with the shapes that they now have.
    """
    import torch
    from torch._dispatch.python import enable_python_dispatcher
    from torch._subclasses.fake_tensor import FakeTensor
    from torch.export import exported_program
    from torch.fx.experimental.proxy_tensor import make_fx

    graph = program.graph_module.graph
    first = next(
        (value for node in graph.nodes if isinstance(value := node.meta.get("val"), FakeTensor)), None
    )
    if program.dialect != FUNCTIONAL or first is None or not _plain(graph):
        return False
    composites, others = exported_program._split_decomp_table_to_cia_and_python_decomp(dict(table))
    override = exported_program._override_composite_implicit_decomp(composites)
    with torch.no_grad(), first.fake_mode, override, enable_python_dispatcher():
        _describe_all(graph)
        changing = [
            n for n in graph.nodes if n.op == "call_function" and _changes(n.target, composites, others)
        ]
        inputs = list(dict.fromkeys(node for each in changing for node in each.all_input_nodes))

        def outputs(*tensors: "torch.Tensor") -> list[Any]:
            values = dict(zip(inputs, tensors, strict=True))
            return [_called(node, values.__getitem__) for node in changing]

        functional = torch.func.functionalize(outputs)  # litert-torch's functions add in place
        traced = make_fx(functional, decomposition_table=others)(*(n.meta["val"] for n in inputs)).graph
    parts = traced.output_node().args[0]
    if not _plain(traced) or not all(map(_fits, changing, parts)):
        return False
    _inline(graph, changing, traced, inputs)
    for spec, node in zip(program.graph_signature.output_specs, graph.output_node().args[0], strict=True):
        spec.arg.name = node.name
    return True


def _plain(graph: "Graph") -> bool:
    """Whether all its nodes are inputs, calls of functions without modules, and the output."""
    import torch

    kinds = {"placeholder", "call_function", "output"}
    return all(
        node.op in kinds and not isinstance(node.target, torch._ops.HigherOrderOperator)
        for node in graph.nodes
    )


def _fits(node: "Node", output: Any) -> bool:
    """Whether everything that reads the node can read `output`: a node, or a sequence with one for each reader."""
    import torch

    if isinstance(output, torch.fx.Node):
        return True
    readers = [user for user in node.users if user.users]
    return isinstance(output, (list, tuple)) and all(
        user.target is operator.getitem and isinstance(output[user.args[1]], torch.fx.Node)
        for user in readers
    )


def _called(node: "Node", value_of: "Callable[[Node], Any]") -> Any:
    import torch

    args, options = torch.fx.node.map_arg((node.args, node.kwargs), value_of)
    return node.target(*args, **options)


def _describe_all(graph: "Graph") -> None:
    """Each node's present value (a fake tensor of its own) in place of the one before passes changed the layout."""
    import torch

    described = {id(node.meta["val"]) for node in graph.nodes if node.op == "placeholder"}
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        value = _called(node, lambda source: source.meta["val"])
        if isinstance(value, torch.Tensor):
            # The trace knows tensors by their identity, and a function may return its input.
            value = torch.ops.aten.alias(value) if id(value) in described else value
            described.add(id(value))
        _describe(node, value)


def _describe(node: "Node", value: Any) -> None:
    """Notes the value, and the shape, strides and type that litert-torch reads."""
    import torch
    from torch.fx.passes.shape_prop import _extract_tensor_metadata

    node.meta["val"] = value
    node.meta["tensor_meta"] = torch.utils._pytree.tree_map_only(
        torch.Tensor, _extract_tensor_metadata, value
    )


def _changes(target: Any, composites: "Decompositions", others: "Decompositions") -> bool:
    """Whether a trace may replace a call of `target`."""
    import torch
    from torch._export.utils import _special_op_to_preserve_cia

    if target is operator.getitem:
        return False
    if not isinstance(target, torch._ops.OpOverload) or target in others:
        return True
    if target in composites:
        return composites[target] is not _special_op_to_preserve_cia
    return torch._C._dispatch_has_kernel_for_dispatch_key(target.name(), "CompositeImplicitAutograd")


def _inline(graph: "Graph", changing: "Sequence[Node]", traced: "Graph", inputs: "Sequence[Node]") -> None:
    """Puts in place of each node of `changing` the part of `traced` that computes its output."""
    import torch

    replaced: dict[Node, Node] = {}
    of_input = dict(zip(traced.find_nodes(op="placeholder"), inputs, strict=True))
    for node, output in zip(changing, traced.output_node().args[0], strict=True):
        copies: dict[Node, Node] = {}

        def copied(part: "Node", copies: "dict[Node, Node]" = copies) -> "Node":
            source = of_input.get(part)
            return copies[part] if source is None else replaced.get(source, source)

        whole = isinstance(output, torch.fx.Node)
        with graph.inserting_before(node):
            for part in _ancestors([output] if whole else [end for end in output if end is not None]):
                copies[part] = graph.node_copy(part, copied)
                copies[part].meta = {key: node.meta[key] for key in ORIGIN if key in node.meta}
                _describe(copies[part], part.meta["val"])
        if whole:
            _replace(node, copied(output), replaced)
            continue
        for user in list(node.users):  # getitem
            if user.users:
                _replace(user, copied(output[user.args[1]]), replaced)
            else:
                graph.erase_node(user)
        graph.erase_node(node)


def _replace(node: "Node", by: "Node", replaced: "dict[Node, Node]") -> None:
    replaced[node] = by
    node.replace_all_uses_with(by)
    node.graph.erase_node(node)


def _ancestors(ends: "Sequence[Node]") -> "list[Node]":
    """The calls that `ends` need, themselves among them, in the graph's order."""
    needed: set[Node] = set()
    pending = list(ends)
    while pending:
        node = pending.pop()
        if node.op == "call_function" and node not in needed:
            needed.add(node)
            pending += node.all_input_nodes
    return sorted(needed)


def direct_lowerings(lookup: Callable[[Any], Callable[..., Any]]) -> dict[Any, Callable[..., Any]]:
    """Lowerings of the commonest operators to the StableHLO that JAX writes; `lookup` has those of litert-torch."""
    import torch

    aten = torch.ops.aten
    writers: dict[Any, Callable[..., Any]] = {
        aten.permute.default: _permute, aten.view.default: _view, aten.mm.default: _matmul,
        aten.relu.default: _relu, aten.add.Tensor: _sum, aten.mul.Tensor: _product,
    }  # fmt: skip
    direct = {op: _of_floats(write, lookup(op)) for op, write in writers.items()}
    return {**direct, aten.clone.default: lambda lctx, x, **options: x}


def _of_floats(write: Callable[..., Any], long_way: Callable[..., Any]) -> Callable[..., Any]:
    """`write(output's shape, operands)` where all tensors are float32 and there are no options, else `long_way`."""
    from litert_converter.mlir import ir

    def lower(lctx: Any, *operands: Any, **options: Any) -> Any:
        tensors = [each for each in operands if not isinstance(each, (list, tuple))]
        floats = all(isinstance(x, ir.Value) and str(x.type.element_type) == "f32" for x in tensors)
        if options or not floats:
            return long_way(lctx, *operands, **options)
        return write(list(lctx.node.meta["val"].shape), *operands)

    return lower


def _permute(shape: list[int], x: Any, axes: Sequence[int]) -> Any:
    from litert_converter.mlir import ir
    from litert_converter.mlir.dialects import stablehlo

    return stablehlo.transpose(x, ir.DenseI64ArrayAttr.get([axis % len(axes) for axis in axes]))


def _view(shape: list[int], x: Any, _: Sequence[int]) -> Any:
    from litert_converter.mlir.dialects import stablehlo

    return stablehlo.reshape(_kind(shape, x), x)


def _matmul(shape: list[int], x: Any, y: Any) -> Any:
    from litert_converter.mlir.dialects import stablehlo

    return stablehlo.dot_general(_kind(shape, x), x, y, stablehlo.DotDimensionNumbers.get([], [], [1], [0]))


def _relu(shape: list[int], x: Any) -> Any:
    from litert_converter.mlir import ir
    from litert_converter.mlir.dialects import stablehlo

    zero = ir.DenseElementsAttr.get_splat(_kind([], x), ir.FloatAttr.get(x.type.element_type, 0.0))
    return stablehlo.maximum(x, _broadcast(stablehlo.constant(zero), shape))


def _sum(shape: list[int], x: Any, y: Any) -> Any:
    from litert_converter.mlir.dialects import stablehlo

    return stablehlo.add(_broadcast(x, shape), _broadcast(y, shape))


def _product(shape: list[int], x: Any, y: Any) -> Any:
    from litert_converter.mlir.dialects import stablehlo

    return stablehlo.multiply(_broadcast(x, shape), _broadcast(y, shape))


def _broadcast(x: Any, shape: list[int]) -> Any:
    """As JAX does it: first the axes that are missing, then those of one cell."""
    own = list(x.type.shape)
    new = len(shape) - len(own)
    axes = list(range(new, len(shape)))
    if new and own:
        x, axes = _widened(x, [1] * new + own, axes), list(range(len(shape)))
    return x if list(x.type.shape) == shape else _widened(x, shape, axes)


def _widened(x: Any, shape: list[int], axes: list[int]) -> Any:
    from litert_converter.mlir import ir
    from litert_converter.mlir.dialects import stablehlo

    return stablehlo.broadcast_in_dim(_kind(shape, x), x, ir.DenseI64ArrayAttr.get(axes))


def _kind(shape: list[int], x: Any) -> Any:
    """The type of a tensor of that shape, with the elements of x."""
    from litert_converter.mlir import ir

    return ir.RankedTensorType.get(shape, x.type.element_type)
